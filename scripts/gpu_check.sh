#!/bin/sh
# Checks and measures on a GPU: golden cases, the training step against PyTorch's, and the loader that feeds it. Skips, saying
# why, where there is no GPU. Needs Python with JAX's CUDA plugin (pip install 'jax[cuda13]'), and for the comparison torch
# and torchvision. See docs/gpu.md.
#
# usage: gpu_check.sh [FOLDER]   a folder that gpu_bundle.sh made; in the bundle itself, none
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here} page=$here/../docs/gpu.md
[ -d "$here/../docs" ] || page=gpu.md
python=${MOCOSTREAM_PYTHON:-python3}
command -v "$python" >/dev/null 2>&1 || {
	echo "gpu-check: skipped: no $python; install Python 3 with jax[cuda13], or name one in MOCOSTREAM_PYTHON"
	exit 0
}
if [ ! -x "$folder/mocostream" ] && [ -f "$folder/programs.tar.xz" ]; then
	"$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$folder/programs.tar.xz" "$folder"
fi
[ -x "$folder/mocostream" ] || {
	echo "gpu-check: no mocostream in $folder; make gpu-bundle puts it there" >&2
	exit 1
}
# No libjpeg-turbo on the other machine: the bundle has its own.
LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$python" "$here/gpu_check.py" "$folder" "$page"
