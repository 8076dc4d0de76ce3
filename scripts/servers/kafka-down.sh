#!/usr/bin/env bash
# Stops the brokers that kafka-up.sh started in DIR, by their pid files, checked against the command line.
#
# usage: kafka-down.sh DIR [--only ID] [--kill] [--wipe]
#   --only ID  just that node
#   --kill     SIGKILL at once: a crash
#   --wipe     also removes data and settings
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
[ -d "$1" ] || exit 0
dir=$(cd "$1" && pwd)
shift
only='' sig=TERM wipe=0
while [ $# -gt 0 ]; do
	case $1 in
	--only) [ $# -ge 2 ] || usage && only=$2 && shift ;;
	--kill) sig=KILL ;;
	--wipe) wipe=1 ;;
	*) die "unknown option $1" ;;
	esac
	shift
done
[ $wipe = 0 ] || [ -z "$only" ] || die '--wipe and --only exclude each other'
exec 9>"$dir/.lock"
flock 9
pids=()
for f in "$dir"/node*/pid; do
	[ -f "$f" ] || continue
	node=$(dirname "$f")
	[ -z "$only" ] || [ "$(basename "$node")" = "node$only" ] || continue
	p=$(cat "$f")
	if [ -n "$p" ] && runs "$p" "$node/server.properties"; then
		kill -s CONT "$p" || true # a stopped one would not hear SIGTERM
		kill -s $sig "$p" || true
		pids+=("$p:$node")
	fi
	rm -f "$f"
done
# the last controllers of a quorum cannot finish a controlled shutdown: give up on politeness after 10 s
end=$((SECONDS + 10))
for e in ${pids[@]+"${pids[@]}"}; do
	p=${e%%:*} node=${e#*:}
	while runs "$p" "$node/server.properties"; do
		if [ $SECONDS -ge $end ]; then kill -s KILL "$p" 2>/dev/null || true; fi
		sleep 0.1
	done
done
if [ $wipe = 1 ]; then rm -rf "$dir"/node* "$dir/tls" "$dir/tmp" "$dir/cluster.conf" "$dir/env"; fi
