#!/bin/sh
# The tests of make integration: the race detector over what is concurrent, XLA on the CPU, and the whole program.
# scripts/servers/with.sh starts it with servers in the environment; TAGS is of bin/build.env. XLA needs Python and 100 MB
# from PyPI; without them the tests on it are skipped, with MOCOSTREAM_REQUIRE_SERVERS=1 that is an error.
set -eu
tags=integration${TAGS:+,$TAGS}
if MOCOSTREAM_XLA_CPU=$(scripts/xla_cpu.sh); then
	export MOCOSTREAM_XLA_CPU
elif [ "${MOCOSTREAM_REQUIRE_SERVERS:-}" = 1 ]; then
	echo 'integration.sh: XLA on the CPU is required here' >&2
	exit 1
else
	echo 'integration.sh: going on without XLA on the CPU: the tests that need it are skipped' >&2
fi
go test -race -tags "$tags" -timeout 10m ./internal/... ./ingest/... ./loader/... ./augment/... ./sink/...
# Without the detector, whose own memory these would measure.
go test -tags "$tags" -timeout 5m -run 'LargeMessages|Million' ./ingest/kafka ./ingest/s3
go test -tags "$tags" -timeout 15m ./cmd/...
