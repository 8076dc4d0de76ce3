#!/bin/sh
# Compares the training step with PyTorch's, in turns; see bench_step.py. PyTorch is a download of gigabytes: it goes into
# .venv; MOCOSTREAM_PYTHON names a python that has torch and torchvision already.
#
# usage: bench_step.sh [--pairs N] [--steps N] [--threads N] [--backend CONFIG] [--only WIDTH]
set -eu
cd "$(dirname "$0")/.."

if [ -z "${MOCOSTREAM_PYTHON:-}" ]; then
	if [ ! -x .venv/bin/python ]; then
		python3 -m venv .venv || {
			echo "bench-step: python3 cannot make a virtual environment; install python3-venv" >&2
			exit 1
		}
	fi
	.venv/bin/python -m pip install --quiet torch torchvision
	MOCOSTREAM_PYTHON=.venv/bin/python
fi
exec "$MOCOSTREAM_PYTHON" scripts/bench_step.py "$@"
