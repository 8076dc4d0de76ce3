#!/usr/bin/env bash
# Starts 1 or 3 real Kafka brokers (KRaft, each broker and controller) on 127.0.0.1.
#
# usage: kafka-up.sh DIR [--lib LIBDIR] [--brokers 1|3] [--port BASE|free] [--secure] [--prefix NAME] [--only ID]
#   DIR        what belongs to the cluster lives here: node*/data, logs, pid files, certificate, env
#   --lib      the jars; default: what kafka-install.sh fetches
#   --brokers  1 (default) or 3; 3 means replication factor 3, min.insync.replicas 2
#   --port     first client port (default 19092; free: picked); controllers BASE+100.., SASL_SSL BASE+200..
#   --secure   also a SASL_SSL listener: SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN, self-signed certificate
#   --prefix   of the names in DIR/env (default MOCOSTREAM_KAFKA)
#   --only ID  starts just that node, after a kill -9, with the options of the first start
# Nodes that already run are left alone, and existing data is kept (kafka-down.sh DIR --wipe removes it). Returns when
# every broker is up and unfenced, or fails within KAFKA_WAIT seconds. Prints and writes DIR/env: PREFIX (bootstrap),
# PREFIX_DIR, and with --secure PREFIX_SECURE (bootstrap), PREFIX_CA, PREFIX_USER, PREFIX_PASSWORD.
# Environment: KAFKA_HEAP (512m), KAFKA_WAIT (90), KAFKA_USER (moco), KAFKA_PASSWORD (moco-secret),
#   KAFKA_SESSION_MS (3000: failover after kill -9; Kafka's default is 9000), KAFKA_REAUTH_MS (0: off),
#   KAFKA_JVM (-XX:TieredStopAtLevel=1: starts 3 s sooner; set empty for C2), KAFKA_EXTRA (file with more
#   server.properties lines), KAFKA_LOGLEVEL (INFO), JAVA (java).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

options() {
	[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || usage
	dir=$(absolute "$1")
	shift
	lib='' n='' base='' secure='' only='' prefix=''
	while [ $# -gt 0 ]; do
		case $1 in
		--secure) secure=1 && shift && continue ;;
		--lib | --brokers | --port | --prefix | --only) [ $# -ge 2 ] || usage ;;
		*) die "unknown option $1" ;;
		esac
		case $1 in
		--lib) lib=$2 ;;
		--brokers) n=$2 ;;
		--port) base=$2 ;;
		--prefix) prefix=$2 ;;
		--only) only=$2 ;;
		esac
		shift 2
	done
	case $n in '' | 1 | 3) ;; *) die '--brokers must be 1 or 3' ;; esac
	case $dir$lib in *[[:space:]\|\&\\:]*) die 'DIR and LIBDIR may not hold spaces or any of | & \ :' ;; esac
	user=${KAFKA_USER:-moco} password=${KAFKA_PASSWORD:-moco-secret}
	JAVA=${JAVA:-java}
}

# uuid: 16 random bytes, URL-safe base64 without padding, not starting with '-': Kafka's own form
uuid() {
	local u
	while :; do
		u=$(head -c16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
		case $u in -*) ;; *) break ;; esac
	done
	echo "$u"
}

# settle pins in cluster.conf what may not change while data exists.
settle() {
	if [ -f "$dir/cluster.conf" ]; then
		# shellcheck disable=SC1091
		. "$dir/cluster.conf"
		n=${n:-$c_n} base=${base:-$c_base} secure=${secure:-$c_secure} prefix=${prefix:-$c_prefix} lib=${lib:-$c_lib}
		[ "$base" != free ] || base=$c_base
		[ "$c_n $c_base $c_secure" = "$n $base $secure" ] ||
			die "$dir holds a cluster with --brokers $c_n --port $c_base secure=$c_secure; use the same options or kafka-down.sh $dir --wipe"
		return
	fi
	[ -z "$only" ] || die "$dir holds no cluster; start it without --only first"
	n=${n:-1} base=${base:-19092} secure=${secure:-0} prefix=${prefix:-MOCOSTREAM_KAFKA}
	[ "$base" != free ] || base=$(free_port 0 1 2 100 101 102 200 201 202)
	lib=${lib:-$("$here/kafka-install.sh")}
	c_id=$(uuid) c_d1=$(uuid) c_d2=$(uuid) c_d3=$(uuid)
	printf 'c_n=%s\nc_base=%s\nc_secure=%s\nc_prefix=%s\nc_lib=%s\nc_id=%s\nc_d1=%s\nc_d2=%s\nc_d3=%s\n' \
		"$n" "$base" "$secure" "$prefix" "$lib" "$c_id" "$c_d1" "$c_d2" "$c_d3" >"$dir/cluster.conf.tmp"
	mv "$dir/cluster.conf.tmp" "$dir/cluster.conf"
}

addresses() {
	local i d
	boot='' quorum='' brokers='' sbrokers=''
	for i in $(seq 1 "$n"); do
		d=c_d$i
		boot+="${boot:+,}127.0.0.1:$((base + 99 + i))"
		quorum+="${quorum:+,}$i@127.0.0.1:$((base + 99 + i)):${!d}"
		brokers+="${brokers:+,}127.0.0.1:$((base - 1 + i))"
		sbrokers+="${sbrokers:+,}127.0.0.1:$((base + 199 + i))"
	done
}

certificate() {
	[ "$secure" = 1 ] && [ ! -f "$dir/tls/ca.pem" ] || return 0
	need keytool default-jre-headless
	rm -rf "$dir/tls"
	mkdir -m 700 "$dir/tls"
	keytool -genkeypair -alias kafka -keyalg EC -groupname secp256r1 -dname CN=localhost -validity 3650 \
		-ext san=dns:localhost,ip:127.0.0.1 -ext bc:c=ca:true -ext eku=serverAuth \
		-storetype PKCS12 -keystore "$dir/tls/broker.p12" -storepass changeit >"$dir/tls/log" 2>&1 ||
		{ cat "$dir/tls/log" >&2 && die 'keytool could not make a certificate'; }
	keytool -exportcert -rfc -alias kafka -keystore "$dir/tls/broker.p12" -storepass changeit >"$dir/tls/ca.pem.tmp" 2>/dev/null
	mv "$dir/tls/ca.pem.tmp" "$dir/tls/ca.pem"
}

# alive ID prints the pid of a node that runs.
alive() {
	local p
	p=$(cat "$dir/node$1/pid" 2>/dev/null) && [ -n "$p" ] && runs "$p" "$dir/node$1/server.properties" && echo "$p"
}

# properties ID writes the node's settings.
properties() {
	local sl=''
	[ "$secure" = 0 ] || sl=",SECURE://127.0.0.1:$((base + 199 + $1))"
	{
		cat "$here/server.properties.in"
		[ "$secure" = 0 ] || cat "$here/secure.properties.in"
	} | sed -e "s|@ID@|$1|g;s|@PORT@|$((base - 1 + $1))|g;s|@CPORT@|$((base + 99 + $1))|g" \
		-e "s|@BOOTSTRAP_CONTROLLERS@|$boot|g;s|@SECURE_LISTENER@|$sl|g;s|@DATA@|$dir/node$1/data|g" \
		-e "s|@RF@|$n|g;s|@MINISR@|$((n == 1 ? 1 : 2))|g;s|@SESSION_MS@|${KAFKA_SESSION_MS:-3000}|g" \
		-e "s|@USER@|$user|g;s|@PASSWORD@|$password|g;s|@KEYSTORE@|$dir/tls/broker.p12|g;s|@STOREPASS@|changeit|g" \
		-e "s|@REAUTH_MS@|${KAFKA_REAUTH_MS:-0}|g"
	[ -z "${KAFKA_EXTRA:-}" ] || cat "$KAFKA_EXTRA"
}

format() {
	local node=$dir/node$1 how=(--standalone)
	[ ! -f "$node/data/meta.properties" ] || return 0
	rm -rf "$node/data"
	[ "$n" = 1 ] || how=(--initial-controllers "$quorum")
	[ "$secure" = 0 ] || how+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$password]" --add-scram "SCRAM-SHA-256=[name=$user,password=$password]")
	"$JAVA" -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dkafka.loglevel=WARN "${jvm[@]}" kafka.tools.StorageTool \
		format -t "$c_id" -c "$node/server.properties" "${how[@]}" >"$node/format.log" 2>&1 ||
		{ cat "$node/format.log" >&2 && die "format of node $1 failed"; }
}

launch() {
	local node=$dir/node$1
	mkdir -p "$node"
	(umask 077 && properties "$1" >"$node/server.properties") # it holds a password
	format "$1"
	! open_port $((base - 1 + $1)) || die "port $((base - 1 + $1)) is already in use; choose another --port"
	[ ! -f "$node/log" ] || mv "$node/log" "$node/log.prev"
	# setsid: the broker survives a Ctrl-C in the caller's terminal; 9>&-: it must not hold the lock
	# shellcheck disable=SC2086
	setsid "$JAVA" "-Xmx${KAFKA_HEAP:-512m}" -Xms128m ${KAFKA_JVM--XX:TieredStopAtLevel=1} -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError \
		"-Dkafka.loglevel=${KAFKA_LOGLEVEL:-INFO}" "${jvm[@]}" kafka.Kafka "$node/server.properties" \
		>"$node/log" 2>&1 </dev/null 9>&- &
	echo $! >"$node/pid"
	started+=("$1")
}

# A failed start leaves nothing running.
cleanup() {
	local rc=$? i p
	[ $rc = 0 ] || for i in ${started[@]+"${started[@]}"}; do
		if p=$(alive "$i"); then kill -s KILL "$p" || true; fi
		rm -f "$dir/node$i/pid"
	done
}

# "Kafka Server started" is logged once the broker is registered and unfenced.
await() {
	local end=$((SECONDS + ${KAFKA_WAIT:-90})) i
	for i in ${started[@]+"${started[@]}"}; do
		until grep -q 'Kafka Server started' "$dir/node$i/log" 2>/dev/null; do
			kill -0 "$(cat "$dir/node$i/pid")" 2>/dev/null || { tail -n 30 "$dir/node$i/log" >&2 && die "node $i died"; }
			[ $SECONDS -lt $end ] || { tail -n 30 "$dir/node$i/log" >&2 && die "node $i is not ready after ${KAFKA_WAIT:-90} s"; }
			sleep 0.1
		done
	done
}

environment() {
	printf '%s=%s\n%s_DIR=%s\n' "$prefix" "$brokers" "$prefix" "$dir"
	[ "$secure" = 0 ] || printf '%s=%s\n' "${prefix}_SECURE" "$sbrokers" "${prefix}_CA" "$dir/tls/ca.pem" \
		"${prefix}_USER" "$user" "${prefix}_PASSWORD" "$password"
}

options "$@"
need "$JAVA" default-jre-headless
need setsid util-linux
need flock util-linux
exec 9>"$dir/.lock"
flock 9 # two callers at once: the second waits and finds it running
settle
addresses
certificate
mkdir -p "$dir/tmp"
jvm=(-cp "$lib/*" "-Dlog4j2.configurationFile=$here/log4j2.properties" "-Djava.io.tmpdir=$dir/tmp" -Djava.awt.headless=true)
started=()
trap cleanup EXIT
for i in $(seq 1 "$n"); do
	[ -z "$only" ] || [ "$only" = "$i" ] || continue
	alive "$i" >/dev/null || launch "$i"
done
await
(umask 077 && environment >"$dir/env")
cat "$dir/env"
