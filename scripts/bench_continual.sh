#!/bin/sh
# Runs `mocostream bench continual` on the fastest backend that is here: XLA where auto finds it, else XLA's CPU compiler
# through scripts/xla_cpu.sh where that can be made (2 to 3 times the Go backend), else the Go backend.
#
# usage: bench_continual.sh [FLAGS OF bench continual]
# Environment: SEEDS, seeds of each cell (3); BACKEND, as train.backend.
set -eu
cd "$(dirname "$0")/.."

backend=${BACKEND:-}
if [ -z "$backend" ]; then
	backend=auto
	if bin/mocostream doctor 2>&1 | grep -q 'takes go'; then
		if plugin=$(scripts/xla_cpu.sh); then
			backend="xla:$plugin,shared_buffers=false"
		else
			echo 'bench-continual: no XLA here; the Go backend takes 2 to 3 times as long' >&2
		fi
	fi
fi
exec bin/mocostream bench continual --seeds "${SEEDS:-3}" --backend "$backend" --json "$@"
