#!/bin/sh
# Kills training in every way for CHAOS_SECONDS and counts every sample. The last line says what came of it:
# kills=N samples=N missing=0 repeated=0. CHAOS_SEED repeats a run; the seed is printed at the start.
set -eu
export CHAOS_SECONDS="${CHAOS_SECONDS:-3600}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A file and not a pipe alone: the exit code must be go test's.
{
	go test -tags "integration${TAGS:+,$TAGS}" -run '^TestChaos$' -count=1 -v -timeout "$((CHAOS_SECONDS + 900))s" ./cmd/mocostream
	echo "exit $?"
} 2>&1 | tee "$log"
[ "$(tail -n 1 "$log")" = 'exit 0' ] || exit 1
grep '^kills=' "$log" | tail -n 1
