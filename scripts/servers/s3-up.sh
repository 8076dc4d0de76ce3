#!/usr/bin/env bash
# Starts versitygw, an S3 server over a folder, on 127.0.0.1.
#
# usage: s3-up.sh DIR [--port PORT|free] [--bin FILE] [--sidecar] [--prefix NAME] [--bucket NAME]
#   DIR        data, log, pid file and env lie here
#   --port     default 17070; free: picked
#   --bin      the versitygw program; default: what s3-install.sh builds
#   --sidecar  keeps S3's metadata in plain files (4 files an object) instead of extended attributes; chosen by itself
#              where the file system has none (tmpfs before Linux 6.6)
#   --prefix   of the names in DIR/env (default MOCOSTREAM_S3)
#   --bucket   a bucket to create unless it is there; default: none
# One that runs already is left alone. Prints and writes DIR/env: PREFIX_ENDPOINT, PREFIX_ACCESS_KEY, PREFIX_SECRET_KEY,
# PREFIX_REGION. Environment: S3_KEY (mocokey), S3_SECRET (mocosecret), VERSITYGW_VERSION.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
dir=$(absolute "$1")
shift
port=17070 bin='' sidecar=0 prefix=MOCOSTREAM_S3 bucket=''
while [ $# -gt 0 ]; do
	case $1 in
	--sidecar) sidecar=1 && shift && continue ;;
	--port | --bin | --prefix | --bucket) [ $# -ge 2 ] || usage ;;
	*) die "unknown option $1" ;;
	esac
	case $1 in
	--port) port=$2 ;;
	--bin) bin=$2 ;;
	--prefix) prefix=$2 ;;
	--bucket) bucket=$2 ;;
	esac
	shift 2
done
need setsid util-linux
need flock util-linux
exec 9>"$dir/.lock"
flock 9
if [ -n "$bucket" ]; then
	[[ $bucket =~ ^[a-z0-9][a-z0-9.-]{2,62}$ ]] || die "--bucket $bucket: no name of a bucket"
	mkdir -p "$dir/data/$bucket" # which is what a bucket is to this server
fi
if p=$(cat "$dir/pid" 2>/dev/null) && [ -n "$p" ] && runs "$p" "$dir/data"; then
	cat "$dir/env"
	exit 0
fi
bin=${bin:-$("$here/s3-install.sh")}
[ "$port" != free ] || port=$(free_port 0)
! open_port "$port" || die "port $port is already in use; choose another --port"
mkdir -p "$dir/data" "$dir/versions"
# attributes: does the file system keep them? python3 is everywhere but not certain: without it, believe so.
attributes() {
	! command -v python3 >/dev/null 2>&1 ||
		python3 -c 'import os,sys; os.setxattr(sys.argv[1], "user.probe", b"1"); os.removexattr(sys.argv[1], "user.probe")' "$dir/data" 2>/dev/null
}
if [ $sidecar = 0 ] && ! attributes; then
	say 'no extended attributes here: metadata goes into plain files'
	sidecar=1
fi
meta=()
if [ $sidecar = 1 ]; then
	mkdir -p "$dir/meta"
	meta=(--sidecar "$dir/meta")
fi
key=${S3_KEY:-mocokey} secret=${S3_SECRET:-mocosecret}
ROOT_ACCESS_KEY=$key ROOT_SECRET_KEY=$secret setsid "$bin" --port "127.0.0.1:$port" --quiet --health /health \
	posix ${meta[@]+"${meta[@]}"} --versioning-dir "$dir/versions" "$dir/data" >"$dir/log" 2>&1 </dev/null 9>&- &
pid=$!
echo $pid >"$dir/pid"
for _ in $(seq 200); do
	if open_port "$port"; then
		(umask 077 && printf '%s=%s\n' "${prefix}_ENDPOINT" "http://127.0.0.1:$port" "${prefix}_ACCESS_KEY" "$key" \
			"${prefix}_SECRET_KEY" "$secret" "${prefix}_REGION" us-east-1 >"$dir/env")
		cat "$dir/env"
		exit 0
	fi
	kill -0 $pid 2>/dev/null || { cat "$dir/log" >&2 && rm -f "$dir/pid" && die 'versitygw died'; }
	sleep 0.05
done
kill -s KILL $pid 2>/dev/null || true
rm -f "$dir/pid"
cat "$dir/log" >&2
die 'versitygw is not ready after 10 s'
