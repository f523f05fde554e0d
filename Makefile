# run: the demo, from nothing. test: everything. build: the release binary. bench: the measurements.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup frontend run test test-rust test-frontend test-browser lint deny build bench schemas fmt clean

# The target folder is outside the clone and shared between clones.
export AOS_CACHE_DIR ?= $(HOME)/.cache/autonomos
export CARGO_TARGET_DIR ?= $(AOS_CACHE_DIR)/target
BENCH ?= all

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: ## install what is missing
	@./scripts/setup.sh

frontend: ## build the screen that the binary embeds
	@./scripts/frontend.sh

build: setup frontend ## the release binary, at target/release/autonomos
	@cargo build --release --locked --package autonomos-gateway --bin autonomos
	@mkdir -p target/release
	@[ "$$(readlink -f target/release/autonomos)" = "$$(readlink -f $(CARGO_TARGET_DIR)/release/autonomos)" ] \
	  || ln -sf "$(CARGO_TARGET_DIR)/release/autonomos" target/release/autonomos

run: build ## the demo on http://127.0.0.1:8080
	@exec ./target/release/autonomos demo

test: setup frontend lint test-rust test-frontend test-browser deny ## everything
	@echo "make test: all passed"

lint: setup frontend
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@cd frontend && npm run --silent lint

# One set of features for the tests and for the binary that they start: nothing is built twice.
test-rust: setup frontend
	@cargo build --workspace --all-targets --locked --quiet
	@cargo test --workspace --locked --quiet

test-frontend: frontend
	@cd frontend && npm test --silent && npm run --silent size

test-browser: setup frontend
	@./scripts/browser-test.sh

deny: setup ## licences, bans and sources of every dependency
	@./scripts/deny.sh

bench: setup frontend ## one JSON line a measurement; BENCH=commands|rebuild|ingest|connectors|match|scaled|flat for one
	@cargo build --release --locked --quiet --package autonomos-gateway --bin autonomos
	@cargo build --release --locked --quiet --manifest-path tests/beside/Cargo.toml
	@BENCH_POSTGRES_ES="$(CARGO_TARGET_DIR)/release/postgres-es" \
	  cargo run --release --locked --quiet --package autonomos-tests --bin bench -- $(BENCH)

schemas: setup ## write the contracts in schemas/ anew from the types
	@cargo run --locked --quiet --package autonomos-tests --bin write-schemas

fmt:
	@cargo fmt --all
