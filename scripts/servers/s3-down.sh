#!/usr/bin/env bash
# Stops the versitygw that s3-up.sh started in DIR.
#
# usage: s3-down.sh DIR [--wipe]
#   --wipe  also removes its data
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
case ${2:-} in '' | --wipe) ;; *) die "unknown option $2" ;; esac
[ -d "$1" ] || exit 0
dir=$(cd "$1" && pwd)
exec 9>"$dir/.lock"
flock 9
if p=$(cat "$dir/pid" 2>/dev/null) && [ -n "$p" ] && runs "$p" "$dir/data"; then
	kill -s TERM "$p" 2>/dev/null || true
	for i in $(seq 100); do
		runs "$p" "$dir/data" || break
		[ "$i" -lt 50 ] || kill -s KILL "$p" 2>/dev/null || true
		sleep 0.1
	done
fi
rm -f "$dir/pid"
if [ "${2:-}" = --wipe ]; then rm -rf "$dir/data" "$dir/versions" "$dir/meta" "$dir/env" "$dir/log"; fi
