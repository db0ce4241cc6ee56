# Everything happens in .venv/; both `make study` and `make test` set it up first.
PYTHON ?= python3
# The torch to install where none is found; by default the newest of pyproject.toml's versions, without a GPU 2.13.0.
TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
# verl needs an older transformers, and so an environment of its own (Python 3.11 or 3.12).
VERL := .venv-verl
VERL_TORCH ?= torch==2.13.0
export TOKENIZERS_PARALLELISM := false

.PHONY: setup test test-slow test-families test-faults test-verl study rl-study evidence gpu-rehearsal bench lint sanitize clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py csrc/sources.txt .ci/setup.sh .ci/torch_bound.py $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" VENV="$(VENV)" bash .ci/setup.sh
	touch $@

# make test TESTS=sft runs the tests of one package, those in tests/sft/.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not families" tests/$(TESTS)

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Training on tiny checkpoints of every model family; make test has two of them.
test-families: setup
	rm -f build/families.jsonl && mkdir -p build
	PERCBAL_FAMILIES_OUT=$(CURDIR)/build/families.jsonl \
	  $(BIN)/python -m pytest -n 2 --dist load tests/families --deselect tests/families/test_family_page.py
	$(BIN)/python tests/families/page_families.py build/families.jsonl

$(VERL)/ready: Makefile
	test -x $(VERL)/bin/python || $(PYTHON) -m venv $(VERL)
	$(VERL)/bin/pip install --quiet "$(VERL_TORCH)"
	$(VERL)/bin/pip install --quiet verl==0.9.1 TransferQueue==0.1.11 cachetools uvicorn fastapi \
	  pytest "setuptools>=77" wheel ninja pybind11
	touch $@

# Kills, damaged files, full disks, NaN: an hour; the counts go to docs/reliability.md. Goes on where it stopped.
test-faults: setup
	$(BIN)/python tests/faults/suite.py --out build/faults

test-verl: $(VERL)/ready
	$(VERL)/bin/pip install --quiet --no-build-isolation --no-deps .
	$(VERL)/bin/pytest tests_verl

study: setup
	$(BIN)/percbal study --preset quick

# Three hours on two cores; interrupt it freely, it goes on where it stopped.
rl-study: setup
	$(BIN)/percbal study --preset rl

# The registered studies (docs/study.md): days on two cores. Runs that have a committed line are not made again;
# make evidence DOCS=mine makes all of them anew, in mine/results.md.
DOCS ?= docs
RUNS = $(if $(filter docs,$(DOCS)),runs,$(DOCS)/runs)
evidence: setup
	test -d $(DOCS)/studies || { mkdir -p $(DOCS) && cp -r docs/studies $(DOCS); }
	for of in sft-sudoku:sft sft-lambda:sft sft-coloring:sft-coloring sft-coloring-long:sft-long \
	    sft-sudoku-long:sft-long dose:dose; do \
	  $(BIN)/percbal study --preset $${of%:*} --lines $(DOCS)/results/$${of#*:}.jsonl --out $(RUNS) || exit 1; done
	$(BIN)/percbal study --page $(DOCS)

# The GPU's scripts without a GPU, in an environment as a GPU machine's: some 6 GB, a quarter of an hour.
gpu-rehearsal:
	bash benchmarks/gpu/rehearse.sh

# Saved in .benchmarks/; with BENCH=--benchmark-compare beside the last run. PERCBAL_BENCH=quick: small shapes.
bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-autosave $(BENCH)

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
	rm -rf build $(VENV) $(VERL)
