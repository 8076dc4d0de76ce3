#!/usr/bin/env bash
# Measures the sources against plain readers of the same bytes, each in turns in one run: S3 (versitygw) against http.Get,
# Kafka (one broker) against kcat where that is installed. The servers are started for it and taken down again.
#
# usage: bench_sources.sh [--only s3|kafka] [--rounds N]
set -euo pipefail
cd "$(dirname "$0")/.."
servers=scripts/servers
. $servers/lib.sh
only=both rounds=()
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || usage
	case $1 in
	--only) only=$2 ;;
	--rounds) rounds=(--rounds "$2") ;;
	*) usage ;;
	esac
	shift 2
done
dir=$(mktemp -d "$(absolute .servers)/bench-XXXXXX")
down() {
	local rc=$?
	trap - EXIT INT TERM
	$servers/kafka-down.sh "$dir/kafka" --kill || true
	$servers/s3-down.sh "$dir/s3" || true
	rm -rf "$dir"
	exit $rc
}
trap down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
go build -o "$dir/benchsources" ./cmd/benchsources
take() {
	set -a
	# shellcheck disable=SC1090
	. "$1"
	set +a
}
say "$(date -u +%F), $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg)"
if [ "$only" != kafka ]; then
	# Connections that stay open: by default this server closes each after a request, as no large store does.
	VGW_KEEP_ALIVE=true $servers/s3-up.sh "$dir/s3" --port free >/dev/null
	take "$dir/s3/env"
	"$dir/benchsources" s3 "${rounds[@]}"
	"$dir/benchsources" s3 --kinds tar --readers 1 "${rounds[@]}"
fi
if [ "$only" != s3 ]; then
	command -v kcat >/dev/null || say 'kcat is not installed: kafka-go itself is what the source is compared with'
	port=$(free_port 0 100 200)
	$servers/kafka-up.sh "$dir/kafka" --port "$port" >/dev/null
	take "$dir/kafka/env"
	"$dir/benchsources" kafka "${rounds[@]}"
fi
