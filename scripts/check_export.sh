#!/bin/sh
# Compare exported encoders with torchvision and timm: the same pixels must give the same features to 1e-4.
# PyTorch is a download of gigabytes, so this is no part of `make test`. It goes into .venv; MOCOSTREAM_PYTHON names a
# python that has torch, torchvision, timm and safetensors already.
set -eu

if [ -z "${MOCOSTREAM_PYTHON:-}" ]; then
	if [ ! -x .venv/bin/python ]; then
		python3 -m venv .venv || {
			echo "check-export: python3 cannot make a virtual environment; install python3-venv" >&2
			exit 1
		}
	fi
	.venv/bin/python -m pip install --quiet torch torchvision timm safetensors numpy
	MOCOSTREAM_PYTHON=$PWD/.venv/bin/python
	export MOCOSTREAM_PYTHON
fi
exec go test ./sink -run TestExportAgainstPyTorch -count=1 -v
