#!/usr/bin/env bash
# Plays the README's path as a new user would, on a real collection and a terminal of 80 columns:
#
#   tests/first_hour.sh PICTURES [MINUTES]
#
# PICTURES is a folder with labels (folders at its first level, or in `train` and `test`); MINUTES (1) is what `pretrain` gets.
# Every command must end as it should, write what it should, and print no line that is wider than the terminal. The program
# is taken from BYOL, else built. Needs `script` of util-linux for the terminal.
set -euo pipefail

pictures=$(realpath "${1:?expected a folder of labelled pictures}")
minutes=${2:-1}
columns=80
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z ${BYOL:-} ]]; then
    cargo build --release --manifest-path "$root/Cargo.toml" --package byol-cli
    BYOL=$root/target/release/byol
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

fail() {
    echo "FAILED   $*" >&2
    failures=$((failures + 1))
}

# say EXPECTED_EXIT COMMAND…: runs it in a terminal of 80 columns and checks exit code and widths.
say() {
    local expected=$1 code=0 log
    shift
    log=$work/screen-$((++screens)).txt
    echo "-- byol $*"
    script --quiet --return --command "stty cols $columns rows 40; '$BYOL' $*" "$log" >/dev/null </dev/null || code=$?
    [[ $expected == any || $code == "$expected" ]] || fail "byol $*: exit $code, expected $expected: $(tail -n 5 "$log")"
    # What a line shows at last is what stands after its last carriage return; colours and cursor moves take no room.
    local wide
    wide=$(sed -e '/^Script /d' -e 's/\x1b\[[0-9;?]*[A-Za-z]//g' -e 's/\r$//' "$log" | tr '\r' '\n' |
        LC_ALL=C.UTF-8 sed 's/[^ -~]/x/g' |
        awk -v columns=$columns -v home="$work" '{ gsub(home, "") } length($0) > columns && ++wide <= 3')
    [[ -z $wide ]] || fail "byol $*: wider than $columns columns: $wide"
}
screens=0

there() {
    local file
    for file in "$@"; do
        [[ -s $file ]] || fail "$file is missing or empty"
    done
}

ln -s "$pictures" PHOTOS
say any doctor PHOTOS
say 0 preview PHOTOS -o views.png
there views.png
say 0 pretrain PHOTOS --minutes "$minutes" --dry-run
say any pretrain PHOTOS --minutes "$minutes" --out runs/photos
there runs/photos/{config.toml,run.json,metrics.jsonl,encoder.safetensors,encoder.json}
say 0 eval knn runs/photos PHOTOS
say 0 eval all runs/photos PHOTOS
there runs/photos/evaluation.json
say 0 eval linear runs/photos PHOTOS --save classifier.safetensors
say 0 predict runs/photos classifier.safetensors PHOTOS -o predictions.csv
there classifier.safetensors predictions.csv
say 0 embed runs/photos PHOTOS -o photos.npy
there photos.npy
say 0 report runs/photos -o report.html
there report.html
say 2 pretrain PHOTOS --epoch 3
say 2 pretrain NOWHERE
say 2 eval knn runs/nowhere PHOTOS

if ((failures > 0)); then
    echo "$failures check(s) failed" >&2
    exit 1
fi
echo "the first hour went well: $screens commands, nothing wider than $columns columns"
