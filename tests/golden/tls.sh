#!/usr/bin/env bash
# For the https server of the tests: an authority, a certificate it signed, and that certificate's key, which protects nothing. Valid for a
# hundred years; nobody keeps the authority's own key.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../crates/byol-data/tests/data/tls"
authority_key=$(mktemp)
trap 'rm -f "$authority_key"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=byol test authority" \
    -addext "keyUsage=critical,keyCertSign" -keyout "$authority_key" -out authority.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=byol test server" \
    -CA authority.pem -CAkey "$authority_key" \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -addext "basicConstraints=critical,CA:FALSE" \
    -keyout key.pem -out certificate.pem
