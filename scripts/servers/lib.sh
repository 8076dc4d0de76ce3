# Sourced by the scripts beside it: what they share.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "$@"
	exit 1
}

# usage prints the comment at the head of the script that was started.
usage() {
	sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
}

# need COMMAND PACKAGE: ends the script unless the command is there or, as scripts/deps.sh does it, apt-get can install
# its Debian package without asking for a password. MOCOSTREAM_NO_INSTALL=1: never install, only look.
need() {
	command -v "$1" >/dev/null 2>&1 && return
	if [ -z "${MOCOSTREAM_NO_INSTALL:-}" ] && install_package "$2" && command -v "$1" >/dev/null 2>&1; then
		return
	fi
	die "no $1 found; install it: apt-get install $2"
}

install_package() {
	local root=(env) log
	command -v apt-get >/dev/null 2>&1 || return 1
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || return 1
		root=(sudo -n env)
	fi
	say "installing $1"
	log=$(mktemp)
	if { "${root[@]}" apt-get update -q && "${root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=30 "$1"; } >"$log" 2>&1; then
		rm -f "$log"
		return
	fi
	tail -n 5 "$log" >&2
	rm -f "$log"
	return 1
}

# absolute DIR makes the folder and prints its path.
absolute() { mkdir -p "$1" && (cd "$1" && pwd); }

# cache_dir is where downloaded programs are kept, by version: a clean checkout need not fetch them again.
cache_dir() { printf '%s/mocostream' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}"; }

# open_port PORT: does something listen there?
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port OFFSET... prints a base such that base+offset is free for every offset; below the range from which the
# kernel takes the ports of outgoing connections.
free_port() {
	local try base offset
	for try in $(seq 100); do
		base=$((20000 + RANDOM % 12000))
		for offset in "$@"; do
			! open_port $((base + offset)) || continue 2
		done
		echo "$base"
		return
	done
	die "no free ports after $try tries"
}

# runs PID ARGUMENT: is the process still the one that was started with this argument? Guards against reused pids.
runs() { { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qxF -- "$2"; }
