#!/usr/bin/env bash
# Builds versitygw, an S3 server over a folder, from the Go module proxy and prints its path.
#
# usage: s3-install.sh [FILE]
#   FILE  default: mocostream/versitygw-... in the user's cache folder, where it is built once (a minute or two)
# Does nothing when it is there. Environment: VERSITYGW_VERSION (v1.8.0).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in -*) usage ;; esac
version=${VERSITYGW_VERSION:-v1.8.0}
bin=${1:-$(cache_dir)/versitygw-$version}
if [ ! -x "$bin" ]; then
	command -v go >/dev/null 2>&1 || die 'no Go found; install Go 1.26 or newer from https://go.dev/dl and put its bin folder into PATH'
	scratch=$(mktemp -d "$(absolute "$(dirname "$bin")")/build-XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	say "building versitygw $version (once)"
	CGO_ENABLED=0 GOFLAGS='' GOEXPERIMENT='' GOBIN=$scratch go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2 ||
		die 'go could not build versitygw; see its message above, and GOPROXY of go env'
	mv "$scratch/versitygw" "$bin" # whole or not at all
fi
echo "$bin"
