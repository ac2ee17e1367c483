# `make quickstart` and `make test` do all the set-up themselves. TORCH=torch takes the index's newest build (GPUs).
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install quickstart test lint clean

# what pip would compile on one core is compiled on all of them afterwards; where Python writes no bytecode it would never be
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

# torch comes first and alone: with 2.13.0 in place, nothing later draws the build with several GB of CUDA packages
$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) "$(TORCH)"
	$(INSTALL) --constraint constraints.txt --editable ".[train,lora,track,tune,dev]"
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true  # templates among the modules do not compile
	touch $@

install: $(VENV)/.installed

quickstart: install
	$(BIN)/xlift run experiments/quickstart.yaml
	$(BIN)/xlift report experiments/quickstart.yaml

# the rooms stand at the top level and are installed inside xlift: for the type checker, links say so
.types/xlift: Makefile $(wildcard xlift/*.py)
	mkdir -p $@
	for room in registry runners analysis; do ln -sfn ../../$$room $@/$$room; done
	for file in xlift/*.py; do ln -sfn ../../$$file $@/; done
	touch $@

test: install .types/xlift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) .types .mypy_cache store reports build *.egg-info
