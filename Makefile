# The ways in. Each target installs what is missing first; what is up to date is left alone.
BUILD ?= build
JOBS ?= $(shell nproc)
INSTALL ?= scripts/install
export BUILD JOBS

.DEFAULT_GOAL := build
.PHONY: help build test e2e run lint bench lab vectors clean install-deps

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 16

build: install-deps ## the agent: build/podfence
	@scripts/build podfence

test: install-deps ## every test, those in the lab guest included; ends with ctest's summary
	@scripts/test

e2e: install-deps ## only the tests on a real Kubernetes node in the lab guest (needs Go 1.26 or newer)
	@scripts/test -L e2e

run: install-deps ## the example pods on a NUMA machine (the lab guest): report, then /metrics on 127.0.0.1:9551
	@scripts/run

lint: install-deps ## clang-format, clang-tidy, shellcheck, size of files
	@scripts/build all benchmarks
	@scripts/lint

bench: install-deps ## every benchmark
	@scripts/bench

lab: install-deps ## a shell in the lab guest, with the built programs
	@scripts/build all
	@scripts/lab shell node $(BUILD)/podfence $(BUILD)/kernel_*

vectors: ## the recorded decisions against the kubelet's managers (needs Go); KUBERNETES=v1.37.2, WRITE=1 records
	@scripts/vectors $(KUBERNETES)

clean: ## removes what was built (downloads stay in ~/.cache/podfence)
	rm -rf $(BUILD)

install-deps: ## the Debian packages that are missing
	@$(INSTALL)
