#!/bin/sh
# The tests of make integration: the race detector over what is concurrent, and the whole program. scripts/servers/with.sh
# starts it with servers in the environment; TAGS is of bin/build.env.
set -eu
tags=integration${TAGS:+,$TAGS}
go test -race -tags "$tags" -timeout 10m ./internal/... ./ingest/... ./loader/... ./augment/... ./sink/...
go test -tags "$tags" -timeout 5m -run LargeMessages ./ingest/kafka # without the detector, whose own memory it would measure
go test -tags "$tags" -timeout 15m ./cmd/...
