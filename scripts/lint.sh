#!/bin/sh
# Runs golangci-lint at the version pinned here. It is built once from the Go module proxy (minutes) and kept in the
# user's cache folder, by version and Go release.
set -eu
cd "$(dirname "$0")/.."
version=v2.15.0

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mocostream
bin=$cache/golangci-lint-$version-$(go env GOVERSION)
if [ ! -x "$bin/golangci-lint" ]; then
	printf 'lint: building golangci-lint %s (once)\n' "$version" >&2
	mkdir -p "$cache"
	scratch=$(mktemp -d "$cache/build-XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	GOFLAGS= GOEXPERIMENT= GOBIN=$scratch go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
	mkdir -p "$bin"
	mv "$scratch/golangci-lint" "$bin/" # whole or not at all
fi
"$bin/golangci-lint" run "$@"
