#!/usr/bin/env bash
# Writes two WebDataset shards with GNU tar, from pictures that pictures.py made. Repeated runs give the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

data=crates/byol-data/tests/data
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
long="folder_whose_name_is_longer_than_the_hundred_bytes_that_the_header_of_a_tar_archive_has_room_for_by_itself"

mkdir -p "$work/0" "$work/1/$long" "$data/sources"
cp "$data/pictures/baseline.jpg" "$work/0/000000.jpg"
printf '7' >"$work/0/000000.cls"
cp "$data/pictures/rgb.png" "$work/0/000001.png"
printf '{"caption": "two words", "label": 12, "width": 16}' >"$work/0/000001.json"
cp "$data/pictures/lossy.webp" "$work/1/000002.webp"
printf '12\n' >"$work/1/000002.cls"
cp "$data/pictures/grey.jpg" "$work/1/$long/000003.left.jpg"
printf '{"cls": "3"}' >"$work/1/$long/000003.json"

pack() {
    tar --create --file "$data/sources/$1" --format "$2" --sort name --mtime '2000-01-01 00:00Z' --owner 0 --group 0 \
        --numeric-owner --mode u=rw,go=r,a+X "${@:4}" --directory "$work/$3" .
}
pack webdataset-000.tar gnu 0
pack webdataset-001.tar pax 1 --pax-option 'delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f'
