#!/bin/sh
# The tests of make integration: the race detector over what is concurrent, the training step on XLA, and the whole program.
# scripts/servers/with.sh starts it with servers in the environment; TAGS is of bin/build.env. XLA needs Python and 100 MB
# from PyPI, and a program built with it; else the tests on it are skipped, with MOCOSTREAM_REQUIRE_SERVERS=1 that is an error.
set -eu
tags=integration${TAGS:+,$TAGS}
if case ",${TAGS:-}," in *,noxla,*) false ;; esac && MOCOSTREAM_XLA_CPU=$(scripts/xla_cpu.sh); then
	export MOCOSTREAM_XLA_CPU MOCOSTREAM_REQUIRE_XLA=1
elif [ "${MOCOSTREAM_REQUIRE_SERVERS:-}" = 1 ]; then
	echo 'integration.sh: XLA on the CPU is required here' >&2
	exit 1
else
	echo 'integration.sh: going on without XLA on the CPU: the tests that need it are skipped' >&2
fi
# GoMLX's products read past the ends of slices on purpose, in memory that is theirs; the detector's pointer checks are off for it.
go test -race '-gcflags=github.com/gomlx/...=-d=checkptr=0' -tags "$tags" -timeout 10m ./internal/... ./ingest/... ./loader/... ./augment/... ./sink/...
MOCOSTREAM_HANG_STEPS=2000 go test -tags "$tags" -timeout 25m -run '^TestManyStepsEnd$' ./train
# Without the detector, whose own memory these would measure.
go test -tags "$tags" -timeout 5m -run 'LargeMessages|Million' ./ingest/kafka ./ingest/s3
if [ -n "${MOCOSTREAM_REQUIRE_XLA:-}" ]; then
	go test -tags "$tags" -timeout 20m -run '^TestXLA' ./train
	MOCOSTREAM_GOLDEN_BACKEND=xla:$MOCOSTREAM_XLA_CPU,shared_buffers=false go test -tags "$tags" -timeout 20m -run '^TestGolden$' ./train
fi
go test -tags "$tags" -timeout 15m ./cmd/...
