#!/bin/sh
# Finds, and where it may installs, what the build needs beside Go: a C compiler and libjpeg-turbo's headers. Writes the
# build's environment into bin/build.env (shell assignments, to be sourced). Touches neither network nor package manager
# when everything is there.
#
#   CGO_ENABLED=0             build without C, whatever is installed
#   MOCOSTREAM_NO_INSTALL=1   never install, only look
set -eu
cd "$(dirname "$0")/.."

say() { printf 'deps: %s\n' "$*" >&2; }

go_command() {
	if ! command -v go >/dev/null 2>&1; then
		say 'no Go found; install Go 1.26 or newer from https://go.dev/dl and put its bin folder into PATH'
		exit 1
	fi
}

# compiles CODE [FLAGS...]: can the C compiler build and link this program?
compiles() {
	code=$1
	shift
	printf '%s\n' "$code" | $cc -x c - -o "$scratch/probe" "$@" >/dev/null 2>&1
}

have_compiler() { compiles '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }'; }

# jpeg_crop_scanline is libjpeg-turbo's own: another libjpeg does not do.
have_jpeg() { compiles '#include <stdio.h>
#include <jpeglib.h>
int main(void) { return jpeg_crop_scanline == 0; }' -ljpeg; }

# root_command prefixes a command that must run as root, if there is a way without asking for a password.
root_command() {
	if [ "$(id -u)" = 0 ]; then
		root='env'
	elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		root='sudo -n env'
	else
		return 1
	fi
}

apt_install() {
	$root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		-o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=30 "$@" >>"$scratch/apt.log" 2>&1
}

# install_one NAME...: the first of these packages that installs. Their name differs among Debian and its descendants.
install_one() {
	for package in "$@"; do
		apt_install "$package" && return 0
	done
	return 1
}

install_missing() {
	[ -z "${MOCOSTREAM_NO_INSTALL:-}" ] || return 1
	command -v apt-get >/dev/null 2>&1 || return 1
	root_command || return 1
	say 'installing a C compiler and the libjpeg-turbo headers with apt-get'
	$root apt-get update -q >>"$scratch/apt.log" 2>&1 || true # the lists that are there may do
	ok=0
	have_compiler || apt_install gcc libc6-dev || ok=1
	have_jpeg || install_one libjpeg62-turbo-dev libjpeg-turbo8-dev libjpeg-dev || ok=1
	[ $ok = 0 ] || tail -n 5 "$scratch/apt.log" >&2
	return $ok
}

join() { # join SEPARATOR WORDS...: leaves out empty words
	separator=$1 joined=
	shift
	for word in "$@"; do
		[ -z "$word" ] || joined="${joined:+$joined$separator}$word"
	done
	printf '%s' "$joined"
}

# experiment prints the GOEXPERIMENT to build with: the vector kernels need simd, which only amd64 has.
experiment() {
	have=$(go env GOEXPERIMENT)
	case ",$have," in
	*,simd,* | *,nosimd,*) ;;
	*)
		want=$(join , "$have" simd)
		if [ "$(go env GOARCH)" = amd64 ] && GOEXPERIMENT=$want go env GOEXPERIMENT >/dev/null 2>&1; then
			have=$want
		fi
		;;
	esac
	printf '%s' "$have"
}

write_env() {
	flags=$(go env GOFLAGS)
	case " $flags " in *' -buildvcs='*) ;; *) flags=$(join ' ' "$flags" -buildvcs=false) ;; esac
	[ -z "$tags" ] || flags=$(join ' ' "$flags" "-tags=$tags")
	mkdir -p bin
	cat >"$scratch/build.env" <<END
# Written by scripts/deps.sh; removed by make clean.
export CGO_ENABLED=$cgo
export GOEXPERIMENT='$(experiment)'
export GOFLAGS='$flags'
TAGS='$tags'
END
	cmp -s "$scratch/build.env" bin/build.env || cp "$scratch/build.env" bin/build.env
}

go_command
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cc=$(go env CC)
cgo=1 tags=
if [ "${CGO_ENABLED:-}" = 0 ]; then
	say 'CGO_ENABLED=0: building without C: the pure-Go JPEG decoder (several times slower) and no XLA backend'
	cgo=0 tags=noxla,nojpegturbo
elif ! { have_compiler && have_jpeg; } && ! install_missing; then
	say 'to build the fast variant, install: apt-get install gcc libc6-dev libjpeg62-turbo-dev'
	say '  (Ubuntu: libjpeg-turbo8-dev; Fedora: gcc libjpeg-turbo-devel; Alpine: gcc musl-dev libjpeg-turbo-dev)'
fi
if [ $cgo = 1 ] && ! have_compiler; then
	say 'no C compiler: building with the pure-Go JPEG decoder (several times slower) and without the XLA backend'
	cgo=0 tags=noxla,nojpegturbo
elif [ $cgo = 1 ] && ! have_jpeg; then
	say 'no libjpeg-turbo headers: building with the pure-Go JPEG decoder (several times slower)'
	tags=nojpegturbo
fi
write_env
