# Everything happens in .venv/; both `make study` and `make test` set it up first.
PYTHON ?= python3
# The torch to install where none is found. A CPU-only machine may name a CPU build here.
TORCH ?= torch>=2.11,<2.14
VENV := .venv
BIN := $(VENV)/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: setup test test-slow study bench lint sanitize clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py csrc/sources.txt .ci/setup.sh $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" VENV="$(VENV)" bash .ci/setup.sh
	touch $@

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

study: setup
	$(BIN)/percbal study --preset quick

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The C++ core and its tests under each set of sanitizers; needs CMake and a compiler, not torch.
sanitize:
	for set in address,undefined thread; do \
		cmake -S . -B build/$$set -DPERCBAL_SANITIZE=$$set && \
		cmake --build build/$$set -j2 && \
		ctest --test-dir build/$$set --output-on-failure || exit 1; \
	done

clean:
	rm -rf build $(VENV)
