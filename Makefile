# Everything here works from a bare checkout: the virtual environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin
# Networks used by the hardest tests; without dependencies, because torchvision's own would replace the CPU build of torch.
ARCHITECTURES := timm==1.0.31 torchvision==0.28.0

.PHONY: demo test coverage format lint types examples notebooks benchmarks figures docs dist clean

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report,onnx,images]'
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(ARCHITECTURES)
	touch $@

$(BIN)/.installed-docs: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

demo: $(BIN)/.installed
	$(BIN)/prunus demo

test: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest

# The share of the lines of src that tests run, file by file; below this it fails.
COVERED := 95
coverage: $(BIN)/.installed-dev
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=$(COVERED)

format: $(BIN)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(BIN)/.installed-dev
	$(BIN)/mypy

# What the examples are about; without dependencies where these are torch's, and those that are not beside them.
INTEGRATED := pytorch-lightning torchmetrics lightning-utilities transformers accelerate monai segmentation-models-pytorch
BESIDE := tokenizers regex psutil tqdm pyyaml huggingface_hub mlflow-skinny wandb

$(BIN)/.installed-examples: $(BIN)/.installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(BESIDE)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(INTEGRATED)
	touch $@

# All examples at the size of the tests; ultralytics is not among what is installed, as its licence is the AGPL.
examples: $(BIN)/.installed-examples
	$(BIN)/pytest -n 0 -rs tests/examples tests/integrations tests/training/test_trackers.py

notebooks: $(BIN)/.installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebooks]'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 > /dev/null
	cd examples && for notebook in *.ipynb; do \
	  ../$(BIN)/jupyter execute $$notebook || exit 1; done

benchmarks: $(BIN)/.installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps torch-pruning==1.6.1
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.random_networks

# Pages of results and docs/figures.md from the kept rows; measures nothing.
figures: $(BIN)/.installed-dev
	$(BIN)/python -m benchmarks.pages
	$(BIN)/python -m benchmarks.figures

# Wheel and source archive, checked: what they hold, and that the page of the index can show them.
dist: $(BIN)/.installed-dev
	rm -rf dist
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt build twine
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/pytest -n 0 tests/test_distribution.py

# The site, in site/, with the settings of all methods written into their pages; a link that leads nowhere is an error.
docs: $(BIN)/.installed-docs
	$(BIN)/python docs/_tools/settings.py
	$(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf site .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
