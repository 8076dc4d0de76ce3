# make help lists the targets. Everything is built in the environment that scripts/deps.sh finds and writes into
# bin/build.env: with C and libjpeg-turbo where they can be had, in pure Go where not.

# git may refuse a checkout of another owner, and there may be no git at all: the build goes on.
VERSION ?= $(or $(shell git -c safe.directory='$(CURDIR)' describe --tags --always --dirty 2>/dev/null),devel)
ENV     := . bin/build.env &&
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: deps build demo test integration bench lint fmt check-export clean help

deps: ## find or install the C compiler and libjpeg-turbo; write bin/build.env
	@scripts/deps.sh

build: deps ## build bin/mocostream
	$(ENV) go build -ldflags '-X main.version=$(VERSION)' -o bin/mocostream ./cmd/mocostream

demo: build ## train on made-up images for some minutes and write a report (ARGS='--out DIR')
	bin/mocostream demo $(ARGS)

test: deps ## run the tests
	$(ENV) go test -timeout 10m ./...

integration: deps ## run the race detector and the tests of the whole program: hostile files, kill and resume
	$(ENV) go test -race -timeout 10m ./ingest/... ./loader/... ./augment/... ./sink/...
	$(ENV) go test -tags "integration$${TAGS:+,$$TAGS}" -timeout 10m ./cmd/...

bench: deps ## run the benchmarks (ARGS='-bench Decode -count 6')
	$(ENV) go test -run '^$$' -bench . -benchmem $(ARGS) ./...

lint: deps ## run golangci-lint (built and cached at first use)
	$(ENV) scripts/lint.sh

fmt: ## format the Go files
	gofmt -s -w .

check-export: deps ## compare exported encoders with torchvision and timm (downloads PyTorch into .venv)
	$(ENV) scripts/check_export.sh

clean: ## remove what was built
	rm -rf bin

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
