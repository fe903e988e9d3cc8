# Everything a user or CI needs; each target sets up what it is missing.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test check lint bench conformance records clean toolchains

# The digits model on an emulated Cortex-M4.
demo: $(READY)
	$(RUN) examples/digits/demo.py

# Lint, types and every test but the benchmarks.
test: $(READY) toolchains lint
	$(RUN) -m pytest -n 2 -m "not bench"

# The fast part: under two minutes.
check: $(READY) lint
	$(RUN) -m pytest -n 2 -m "not slow and not bench"

lint: $(READY) .links/tinyc
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Measures every figure of bench/README.md and writes the table anew.
bench: $(READY) toolchains
	$(RUN) -m bench.measure

# Compiles and runs the test cases that come with ONNX, and writes docs/operators.md.
conformance: $(READY)
	$(RUN) -m bench.measure --only conformance

# Measures the schedules of common shapes and writes the records that come with tinyc.
records: $(READY) toolchains
	$(RUN) -m bench.records

# Cross compilers from Debian's packages where they are missing and we may install them.
toolchains:
	@sh .ci/toolchains

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[dev]'
	touch $@

# Static checkers cannot follow the editable install's import hook; they follow these links.
.links/tinyc:
	mkdir -p $@
	ln -sfn ../../compiler ../../passes ../../targets ../../autotune ../../quantization ../../pruning $@/
	ln -sfn ../../tinyc/__init__.py $@/__init__.py

clean:
	rm -rf $(VENV) .links build out *.egg-info .pytest_cache .mypy_cache .ruff_cache
