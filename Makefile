# `make demo` and `make test` each set up everything they need, in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2

.PHONY: help demo test lint docs clean

help:
	@echo "make demo   export, check and run EfficientNet-Lite0 on real photographs, into demo-output/"
	@echo "make test   run the test suite"
	@echo "make lint   ruff, mypy, import-linter, and whether the generated docs are up to date"
	@echo "make docs   write anew what of docs/ is made from the code"
	@echo "make clean  remove the environment and the demo's output"

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/make_docs.py --check
	$(BIN)/python scripts/make_imagenet_names.py --check
	$(BIN)/python benchmarks/coverage.py table --check
	$(BIN)/python benchmarks/performance.py --check

docs: $(READY)
	$(BIN)/python scripts/make_docs.py

clean:
	rm -rf .venv demo-output

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(f'Python 3.11 or later is needed, $(PYTHON) is {v[0]}.{v[1]}: set PYTHON=' if v < (3, 11) else 0)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
