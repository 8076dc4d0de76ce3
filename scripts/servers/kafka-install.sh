#!/usr/bin/env bash
# Fetches a Kafka broker and its tools (45 MB of jars) with Maven and prints the folder that holds them.
#
# usage: kafka-install.sh [LIBDIR [KAFKA_VERSION [TOOLS_VERSION]]]
#   LIBDIR  default: mocostream/kafka-... in the user's cache folder, where it is fetched once
# Does nothing when LIBDIR already holds that version. Maven's own settings say where from. Environment: MVN_FLAGS.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
case ${1:-} in -*) usage ;; esac
ver=${2:-} tools=${3:-}
sum=$(cksum <"$here/pom.xml")
stamp="${ver:-default} ${tools:-default} $sum"
lib=${1:-$(cache_dir)/kafka-${sum%% *}}
mkdir -p "$(dirname "$lib")"
lib=$(cd "$(dirname "$lib")" && pwd)/$(basename "$lib")
if [ -f "$lib/.installed" ] && [ "$(cat "$lib/.installed")" = "$stamp" ]; then
	echo "$lib"
	exit 0
fi
need java default-jre-headless
need mvn maven
new=$lib.new.$$
trap 'rm -rf "$new"' EXIT
say 'fetching Apache Kafka (once)'
# shellcheck disable=SC2086
mvn -q -B -Dstyle.color=never ${MVN_FLAGS:-} -f "$here/pom.xml" ${ver:+-Dkafka.version=$ver -Dtools.version=${tools:-$ver}} \
	dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new" >&2 ||
	die 'mvn could not fetch Kafka; see its message above, and the mirror or proxy in settings.xml of your Maven'
ls "$new"/kafka_2.13-*.jar "$new"/kafka-tools-*.jar >/dev/null
echo "$stamp" >"$new/.installed"
rm -rf "$lib"
mv "$new" "$lib" # whole or not at all
echo "$lib"
