#!/usr/bin/env bash
# Makes GoMLX's xla backend usable in tests on any machine: a virtual environment with jaxlib (100 MB from PyPI) and the
# PJRT plugin of internal/pjrtjax/plugin, which forwards to it. Prints the plugin's path; a backend of it is
# "xla:PATH,shared_buffers=false".
#
# usage: xla_cpu.sh [--python]
#   --python  print the path of the environment's interpreter instead
# Both are kept in the user's cache folder, by version and content, and made once. Environment: MOCOSTREAM_PYTHON, the
# interpreter to start from (python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/servers/lib.sh
case ${1:-} in '' | --python) ;; *) usage ;; esac
packages=(jax==0.10.2 jaxlib==0.10.2 numpy)
python=${MOCOSTREAM_PYTHON:-python3}
sources=internal/pjrtjax/plugin

# python_version also says whether there is one that jaxlib has wheels for.
python_version() {
	"$python" -c 'import sys; v = sys.version_info; print("%d.%d" % v[:2]); sys.exit(v[:2] < (3, 11))' 2>/dev/null ||
		die "$python is no Python 3.11 or newer; install one, or name one in MOCOSTREAM_PYTHON"
}

# make_environment DIR: whole or not at all.
make_environment() {
	[ ! -f "$1/.installed" ] || return 0
	say "installing ${packages[*]} (once)"
	rm -rf "$1"
	"$python" -m venv "$1" >&2 || { install_package python3-venv && "$python" -m venv "$1" >&2; } ||
		die "$python cannot make a virtual environment; install python3-venv"
	"$1/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2 ||
		die "pip could not install ${packages[*]}; see its message above, and the index and proxy of pip config list"
	"$1/bin/python" -c 'import jaxlib' || die "jaxlib does not load in $1; see the message above"
	touch "$1/.installed"
}

# header prints the folder of pjrt_c_api.h, of the version that the program is built with.
header() {
	local dir
	go mod download github.com/gomlx/go-xla >&2 || die 'go could not fetch go-xla; see its message above, and GOPROXY of go env'
	dir=$(go list -m -f '{{.Dir}}' github.com/gomlx/go-xla)/pjrt
	[ -f "$dir/pjrt_c_api.h" ] || die "no pjrt_c_api.h in $dir: go-xla has moved it; see $sources/plugin.c"
	echo "$dir"
}

# make_plugin DIR INCLUDE ENVIRONMENT: whole or not at all.
make_plugin() {
	local new=$1.new
	[ ! -d "$1" ] || return 0
	say 'building the plugin (once)'
	rm -rf "$new"
	mkdir -p "$new"
	cp "$sources/server.py" "$new/"
	"${CC:-gcc}" -std=c99 -Wall -Wextra -Werror -O2 -fPIC -shared -I"$2" -DPYTHON="\"$3/bin/python\"" -DSERVER="\"$1/server.py\"" \
		-o "$new/pjrtjax.so" "$sources/plugin.c" "$sources/link.c" -lpthread >&2 ||
		die 'the plugin does not compile; see the message above'
	mv "$new" "$1"
}

[ "$(uname -s)" = Linux ] || die 'the plugin is for Linux only'
command -v go >/dev/null 2>&1 || die 'no Go found; install Go 1.26 or newer from https://go.dev/dl and put its bin folder into PATH'
version=$(python_version)
include=$(header)
command -v "${CC:-gcc}" >/dev/null 2>&1 || die "no ${CC:-gcc} found; make deps installs a C compiler where it may, or name one in CC"
cache=$(absolute "$(cache_dir)")
sum=$(cat "$sources"/* scripts/xla_cpu.sh "$include/pjrt_c_api.h" | cksum)
wheels=$(printf '%s ' "${packages[@]}" "$version" | cksum)
environment=$cache/jaxlib-${wheels%% *} plugin=$cache/pjrtjax-${wheels%% *}-${sum%% *}
exec 9>"$cache/.xla-cpu.lock"
flock 9
make_environment "$environment"
make_plugin "$plugin" "$include" "$environment"
case ${1:-} in
--python) echo "$environment/bin/python" ;;
*) echo "$plugin/pjrtjax.so" ;;
esac
