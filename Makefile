# make help lists the targets. Everything is built in the environment that scripts/deps.sh finds and writes into
# bin/build.env: with C and libjpeg-turbo where they can be had, in pure Go where not.

# git may refuse a checkout of another owner, and there may be no git at all: the build goes on.
VERSION ?= $(or $(shell git -c safe.directory='$(CURDIR)' describe --tags --always --dirty 2>/dev/null),devel)
ENV     := . bin/build.env &&
ARGS    ?=
SEEDS   ?= 3

.DEFAULT_GOAL := help
.PHONY: deps build demo test integration gpu-compile chaos kafka-up kafka-down s3-up s3-down bench bench-sources bench-step bench-continual lint fmt check-export gpu-bundle gpu-check clean help

# What the servers of make kafka-up and make s3-up keep.
SERVERS := .servers
BROKERS ?= 1
BUCKET  ?= photos

deps: ## find or install the C compiler and libjpeg-turbo; write bin/build.env
	@scripts/deps.sh

build: deps ## build bin/mocostream
	$(ENV) go build -ldflags '-X main.version=$(VERSION)' -o bin/mocostream ./cmd/mocostream

demo: build ## train on made-up images for some minutes and write a report (ARGS='--out DIR')
	bin/mocostream demo $(ARGS)

test: deps ## run the tests
	$(ENV) go test -timeout 10m ./...

integration: deps ## run the race detector and the tests against real Kafka and S3 servers and on XLA, all set up here
	$(ENV) scripts/servers/with.sh scripts/integration.sh

gpu-compile: build ## compile the step for an H100, without one, and print memory, collectives and number formats (0.7 GB of wheels)
	$(ENV) scripts/gpu_compile.sh $(ARGS)

chaos: deps ## kill training for CHAOS_SECONDS (3600) in every way and count every sample (CHAOS_SEED repeats a run)
	$(ENV) scripts/chaos.sh

kafka-up: ## start Apache Kafka on this machine (BROKERS=1|3) and say how to reach it
	@scripts/servers/kafka-up.sh $(SERVERS)/kafka --brokers $(BROKERS) --secure
	@echo '# for a shell: set -a; . $(SERVERS)/kafka/env; set +a'

kafka-down: ## stop it and remove its data
	@scripts/servers/kafka-down.sh $(SERVERS)/kafka --wipe

s3-up: ## start an S3 server on this machine, with a bucket (BUCKET=photos), and say how to reach it
	@scripts/servers/s3-up.sh $(SERVERS)/s3 --bucket $(BUCKET)
	@echo '# for a shell: set -a; . $(SERVERS)/s3/env; set +a'

s3-down: ## stop it and remove its data
	@scripts/servers/s3-down.sh $(SERVERS)/s3 --wipe

bench: deps ## run the benchmarks (ARGS='-bench Decode -count 6')
	$(ENV) go test -run '^$$' -bench . -benchmem $(ARGS) ./...

bench-sources: deps ## measure S3 against http.Get and Kafka against kcat, on servers started for it (ARGS='--only s3 --rounds 15')
	$(ENV) scripts/bench_sources.sh $(ARGS)

bench-step: build ## compare the training step with PyTorch's, in turns (ARGS='--pairs 5'; downloads PyTorch into .venv)
	$(ENV) scripts/bench_step.sh $(ARGS)

bench-continual: build ## learn from streams that come in bursts, with each replay policy; takes hours, goes on where it was (SEEDS=1, ARGS='--streams classes')
	$(ENV) SEEDS=$(SEEDS) scripts/bench_continual.sh $(ARGS)

lint: deps ## run golangci-lint (built and cached at first use)
	$(ENV) scripts/lint.sh

fmt: ## format the Go files
	gofmt -s -w .

check-export: deps ## compare exported encoders with torchvision and timm (downloads PyTorch into .venv)
	$(ENV) scripts/check_export.sh

gpu-bundle: deps ## put what gpu-check needs into gpu-bundle/, to carry to a machine with a GPU
	$(ENV) scripts/gpu_bundle.sh gpu-bundle

gpu-check: ## check and measure on a GPU, if there is one, and write docs/gpu.md's tables (from gpu-bundle/)
	@scripts/gpu_check.sh gpu-bundle

clean: ## remove what was built
	rm -rf bin gpu-bundle

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
