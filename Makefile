# The commands of this project; `make` alone lists them. PYTHON=... chooses the interpreter, ARGS=... goes to the
# command behind pytest and the benchmarks.
.POSIX:

BIN = .venv/bin
ARGS =
# One worker more than a small machine has cores: two fifths of its time a test waits for other processes, and a file
# stays with one worker, so that its servers are started once.
WORKERS = -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help setup run demo test soak quick lint bench screenshots binary audit image lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## install what the appliance needs: Debian packages, .venv
	@.ci/setup run

run: setup ## start the appliance; Ctrl+C stops it
	@exec $(BIN)/appliance run

demo: setup ## start the appliance with a small fleet of simulated devices
	@exec .ci/demo

test: setup-test lint ## everything: lint, types and the whole test suite
	@exec $(BIN)/python -m pytest $(WORKERS) $(ARGS)

soak: setup-test ## the whole test suite; kills, chaos and properties ten times as long
	@exec env SOAK=1 $(BIN)/python -m pytest $(WORKERS) $(ARGS)

quick: setup-test ## the tests that need no server, in seconds
	@exec $(BIN)/python -m pytest -n 2 --dist worksteal -m "not real" --ignore tests/system --ignore tests/browser --ignore tests/faults $(ARGS)

lint: setup-test ## formatting, ruff and mypy
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

bench: setup-test ## measure: messages a second, latency, memory, deliveries, renewals, backups
	@$(BIN)/python -m benchmarks.run $(ARGS)
	@$(BIN)/python -m benchmarks.deliveries
	@$(BIN)/python -m benchmarks.renewals
	@exec $(BIN)/python -m benchmarks.backup

screenshots: setup-test ## a picture of every page, both widths and themes, into screenshots/
	@exec $(BIN)/python -m tests.browser.screenshots $(ARGS)

binary: ## build dist/appliance, one file with Python inside; as root, ROOTFS=DIR tries it (docs/single-file.md)
	@.ci/binary
	@[ -z "$(ROOTFS)" ] || { .ci/setup test && PYTHONPATH=.ci exec $(BIN)/python -m tests.release.trial "$(ROOTFS)"; }

audit: ## ask for known vulnerabilities of the pinned packages; needs the network
	@.ci/setup audit
	@PYTHONPATH=.venv/audit-tools exec $(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --requirement requirements.txt $(ARGS)

image: setup-test ## as root: try the built image, whose root file system is ROOTFS=DIR (docs/contributing.md)
	@exec $(BIN)/python -m tests.image.trial "$(ROOTFS)" "$(BASE)"

lock: setup-test ## write requirements*.txt anew from the .in files
	@set -e; for list in requirements requirements-dev requirements-build requirements-binary requirements-audit; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file $$list.txt $$list.in; \
	done
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; list=requirements-reference; \
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$$folder" --requirement $$list.in; \
	{ sed '/^#/d; s/$$/ \\/' $$list.in; $(BIN)/python -m pip hash "$$folder"/* | sed -n 's/^--hash/    &/p'; } >$$list.txt
	@.ci/wheels
	@PYTHONPATH=.ci $(BIN)/python -m release.notices

clean: ## remove .venv and caches; data stay
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: setup-test
setup-test:
	@.ci/setup test
