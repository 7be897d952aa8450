# Every task of the project. What a task does is written in xtask/src, one file each.

.DEFAULT_GOAL := help
.PHONY: help setup check test attacks faults clients e2e sim fuzz soak recovery images crds manifests demo demo-down release bench peers clean toolchain
.NOTPARALLEL:

XTASK := cargo xtask
SCENARIOS ?= p2p_q0 p2p_q1 p2p_q2 fanout fanin shared many many_q1 wild wild_1000000 retained storm idle lat setup flood paced_1000 paced_15000 crowd_1000 crowd_15000
ROUNDS ?= 3
PEERS ?= mosq20
TIME ?= 60
SEEDS ?= 300
MINUTES ?= 30

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: toolchain ## Install and build what this machine lacks: Debian packages, MQTT clients, Kubernetes and the Prometheus adapter (once, about 12 minutes)
	@$(XTASK) setup

check: toolchain ## Format, lints and the tests that need neither Kubernetes nor root: the fast one
	@$(XTASK) check

test: toolchain ## Everything there is to test, on a real Kubernetes too (needs root)
	@$(XTASK) test

clients: toolchain ## Only the tests with MQTT clients of other people's making; TEST=NAME for some of them
	@$(XTASK) clients $(if $(TEST),-- $(TEST))

attacks: toolchain ## Only the attacks on a broker with little memory, with a table of figures (needs root)
	@$(XTASK) attacks

faults: toolchain ## Only the clusters whose nodes are killed, frozen and cut off (SEED, needs root)
	@$(XTASK) faults $(if $(SEED),--seed $(SEED))

e2e: toolchain ## Only the end-to-end tests; TEST=NAME for some of them
	@$(XTASK) e2e $(if $(TEST),-- $(TEST))

sim: toolchain ## Whole clusters with faults in one process, SEEDS of them on virtual time; SEED=n for one, with a trace; BUGS=1 for deliberate mistakes
	@$(XTASK) sim --seeds $(SEEDS) $(if $(FIRST),--first $(FIRST)) $(if $(SEED),--seed $(SEED)) $(if $(BUGS),--bugs) $(if $(BUG),--bug $(BUG))

fuzz: toolchain ## Look for bytes that break the broker, guided by coverage (TIME seconds for each of TARGETS)
	@$(XTASK) fuzz --seconds $(TIME) $(TARGETS)

soak: toolchain ## The release broker under churn: memory settles and nothing is left. Then clusters under faults (MINUTES each, root)
	@$(XTASK) soak --minutes $(MINUTES)
	@$(XTASK) faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

recovery: toolchain ## Measure how long clients wait after each kind of failure (needs root)
	@$(XTASK) recovery

images: toolchain ## Container images of broker and operator in target/images, without Docker
	@$(XTASK) images

crds: toolchain ## Write the resource definitions from the API types
	@cargo run --quiet --locked --bin crds

manifests: toolchain ## Write manifests/install.yaml from the chart
	@$(XTASK) manifests

release: toolchain ## The images and install.yaml of a release in target/release-images; only at the tag of the version
	@$(XTASK) images --release --out target/release-images

demo: toolchain ## Three brokers on a Kubernetes of their own, with messages between all pairs (needs root)
	@$(XTASK) demo

demo-down: toolchain ## End the demo and leave nothing behind
	@$(XTASK) demo down

bench: toolchain ## Measure the broker against the limit of this machine and PEERS, such as "mosq20 rumqttd nats" (SCENARIOS, ROUNDS)
	cargo build --release --locked --bin fulmar-broker
	cargo build --release --locked --manifest-path bench/mqload/Cargo.toml
	$(if $(filter rumqttd,$(PEERS)),cargo build --release --locked --manifest-path bench/peers/Cargo.toml)
	$(if $(filter nats,$(PEERS)),cd bench/peers/nats && go build -o ../target/nats-server github.com/nats-io/nats-server/v2)
	@rm -f target/bench.jsonl
	bench/bench.sh table -b "null ours $(PEERS)" -s "$(SCENARIOS)" -r $(ROUNDS) -o target/bench.jsonl
	@bench/table.py target/bench.jsonl
	@bench/plot.py target/bench.jsonl > target/bench.svg

peers: toolchain ## What rumqttd does where ours holds: why the engine is our own
	cargo build --release --locked --bin fulmar-broker
	cargo run --release --locked --manifest-path bench/peers/Cargo.toml --bin compare -- target/release/fulmar-broker

clean: ## Remove what was built here; the Kubernetes in ~/.cache/fulmar stays
	cargo clean

# The tools that the rest is built with. Everything else is found or installed on the way.
toolchain:
	@for tool in cargo:Rust cc:gcc go:Go; do \
	    command -v $${tool%%:*} > /dev/null || { echo "found no $${tool%%:*}: install $${tool##*:} first" >&2; exit 1; }; \
	done
	@test -e "$${CARGO_TARGET_DIR:-target}/debug/xtask" || \
	    echo "building the tool that runs the tasks, once: a minute on 2 cores"
