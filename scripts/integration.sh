#!/bin/sh
# The tests of make integration: the race detector over what is concurrent, and the whole program. scripts/servers/with.sh
# starts it with servers in the environment; TAGS is of bin/build.env.
set -eu
tags=integration${TAGS:+,$TAGS}
go test -race -tags "$tags" -timeout 10m ./internal/... ./ingest/... ./loader/... ./augment/... ./sink/...
# Without the detector, whose own memory these would measure.
go test -tags "$tags" -timeout 5m -run 'LargeMessages|Million' ./ingest/kafka ./ingest/s3
go test -tags "$tags" -timeout 15m ./cmd/...
