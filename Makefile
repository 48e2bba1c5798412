# Two commands do everything on a fresh machine: `make demo` and `make test`.
# A virtual environment is made in .venv; nothing else is asked.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SHELL := /bin/sh

.PHONY: demo test check wheel deb lock screenshots benchmark clean tools machines schema readme

demo: $(READY)
	$(BIN)/edge-agent demo $(ARGS)

test: $(READY) tools machines
	$(BIN)/pytest -n 3 --dist worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# dist/edge-agent_VERSION_{amd64,arm64,armhf}.deb; for some of them: make deb ARGS=arm64
deb: $(READY)
	$(BIN)/python packaging/build.py $(ARGS)

# After a change of the dependencies in pyproject.toml; with ARGS=--upgrade all get their newest versions.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --generate-hashes --no-annotate --no-header --no-emit-index-url $(ARGS) \
	  --output-file packaging/requirements.lock

wheel: $(READY)
	$(BIN)/python -m build --wheel --outdir dist --no-isolation

# What is made from the code and kept beside it; the tests say when it is out of date.
schema: $(READY)
	$(BIN)/python -m edge_agent.json_schema

readme: $(READY)
	$(BIN)/python -m edge_agent.catalogue README.md

screenshots: $(READY)
	EDGE_AGENT_SCREENSHOTS=1 $(BIN)/pytest -q tests/web/test_page.py -k pictures

benchmark: $(READY)
	$(BIN)/python tests/benchmarks/gateway.py
	$(BIN)/python tests/benchmarks/backfill.py
	$(BIN)/python tests/benchmarks/flash.py
	$(BIN)/python -m tests.benchmarks.year

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml packaging/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "edge-agent needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call debian,python3-venv)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement packaging/requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Brokers, browsers, clocks and checkers that the tests meet for real.
tools:
	@command -v groff >/dev/null || $(call debian,groff-base)
	@test -x /usr/sbin/mosquitto || command -v mosquitto >/dev/null || $(call debian,mosquitto)
	@command -v mosquitto_pub >/dev/null || $(call debian,mosquitto-clients)
	@command -v faketime >/dev/null || $(call debian,faketime)
	@command -v openssl >/dev/null || $(call debian,openssl)
	@command -v promtool >/dev/null || $(call debian,prometheus)
	@command -v chromedriver >/dev/null || $(call debian,chromium chromium-driver fonts-dejavu-core)

# What mounts disks, boots Debians and builds their packages in tests: of use to root only, so nobody else is asked for it.
MACHINES := e2fsprogs mount util-linux mmdebstrap systemd-container zstd apt-utils gnupg gpgv lintian shellcheck qemu-user-static
machines:
	@[ "$$(id -u)" != 0 ] || dpkg-query --show $(MACHINES) >/dev/null 2>&1 || $(call debian,$(MACHINES))

# Installs a Debian package when root, else names it.
define debian
{ if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
  else echo "please install $(1): sudo apt-get install $(1)"; exit 1; fi; }
endef
