#!/usr/bin/env bash
# Runs a command with fresh servers of its own and takes them down again however it ends: Kafka with one broker
# (MOCOSTREAM_KAFKA...) and with three (MOCOSTREAM_KAFKA3...), each plain and SASL over TLS, and S3 (MOCOSTREAM_S3_...).
# Ports are picked, so that two such commands, and make kafka-up beside them, do not meet. Where a program is missing
# the servers that need it are left out with a message; with MOCOSTREAM_REQUIRE_SERVERS=1 that is an error.
#
# usage: with.sh COMMAND [args...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
[ $# -ge 1 ] || usage
dir=$(mktemp -d "$(absolute .servers)/run-XXXXXX")
start=${EPOCHREALTIME/./}

down() {
	local rc=$?
	trap - EXIT INT TERM
	"$here/kafka-down.sh" "$dir/kafka" --kill || true
	"$here/kafka-down.sh" "$dir/kafka3" --kill || true
	"$here/s3-down.sh" "$dir/s3" || true
	rm -rf "$dir"
	exit $rc
}
trap down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# absent WHAT: the servers could not be started.
absent() {
	[ "${MOCOSTREAM_REQUIRE_SERVERS:-}" != 1 ] || die "$1 is required here"
	say "going on without $1: the tests that need it are skipped"
}

# take FILE exports what a server's env file says.
take() {
	set -a
	# shellcheck disable=SC1090
	. "$1"
	set +a
}

seconds() { echo "$((($(date +%s%N) / 1000 - start) / 1000)) ms"; }

port=$(free_port 0 100 200 10 11 12 110 111 112 210 211 212 20) # asked for at once, or two servers could be given the same
if lib=$("$here/kafka-install.sh"); then
	"$here/kafka-up.sh" "$dir/kafka" --lib "$lib" --port "$port" --secure >/dev/null &
	one=$!
	"$here/kafka-up.sh" "$dir/kafka3" --lib "$lib" --port $((port + 10)) --brokers 3 --secure --prefix MOCOSTREAM_KAFKA3 >/dev/null &
	three=$!
	if wait $one; then take "$dir/kafka/env"; else absent 'Kafka (one broker)'; fi
	if wait $three; then take "$dir/kafka3/env"; else absent 'Kafka (three brokers)'; fi
else
	absent Kafka
fi
if "$here/s3-up.sh" "$dir/s3" --port $((port + 20)) >/dev/null; then take "$dir/s3/env"; else absent S3; fi
say "servers are up after $(seconds)"
"$@"
