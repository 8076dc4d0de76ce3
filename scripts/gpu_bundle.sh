#!/bin/sh
# Puts what gpu_check.sh needs on a machine with a GPU into one folder of under 60 MB: the program and the tests of train
# (packed together with the golden cases), peer programs, photos and the scripts. There: sh gpu-bundle/gpu_check.sh
#
# usage: gpu_bundle.sh FOLDER
# Environment: MOCOSTREAM_GOLDEN, a folder of more reference cases; MOCOSTREAM_PEERS, one with torch_step.py; MOCOSTREAM_PHOTOS,
# one of JPEG files, of which 3 MB are taken (made-up images without it).
set -eu
cd "$(dirname "$0")/.."
out=$1 files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
rm -rf "$out"
mkdir -p "$out/photos" "$out/peers" "$files/golden" "$files/lib"
go build -ldflags '-s -w' -o "$files/mocostream" ./cmd/mocostream
go test -c -ldflags '-s -w' -o "$files/train.test" ./train
for cases in train/testdata/golden ${MOCOSTREAM_GOLDEN:+"$MOCOSTREAM_GOLDEN"}; do
	cp -r "$cases"/. "$files/golden/"
done
mkdir -p "$files/testdata" && cp -r train/testdata/golden "$files/testdata/"
jpeg=$(ldd "$files/mocostream" | sed -n 's/.*libjpeg[^ ]* => \([^ ]*\).*/\1/p')
[ -z "$jpeg" ] || cp "$jpeg" "$files/lib/"
if [ -n "${MOCOSTREAM_PHOTOS:-}" ]; then
	total=0
	for photo in "$MOCOSTREAM_PHOTOS"/*.jpg; do
		total=$((total + $(wc -c <"$photo")))
		[ "$total" -lt 3000000 ] || break
		cp "$photo" "$out/photos/"
	done
else
	"$files/mocostream" synth --out "$out/photos" --images 64 --size 256
fi
[ -z "${MOCOSTREAM_PEERS:-}" ] || cp "$MOCOSTREAM_PEERS"/*.py "$out/peers/"
chmod -R u+w "$files"
tar -C "$files" -c . | xz -T0 -6 >"$out/programs.tar.xz"
cp scripts/gpu_check.sh scripts/gpu_check.py "$out/"
size=$(du -sk "$out" | cut -f1)
echo "$out: $((size / 1024)) MB"
[ "$size" -lt 60000 ] || {
	echo 'gpu-bundle: more than 60 MB; leave cases out of MOCOSTREAM_GOLDEN' >&2
	exit 1
}
