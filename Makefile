# Each target sets up what it needs in a local virtual environment.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
LOWEST := $(VENV)-lowest
PIP_OPTIONS := --quiet --disable-pip-version-check -c constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install $(PIP_OPTIONS)
# Each process takes half of the tests in their order, and at the end some of what the other has left.
IN_TWO := -n 2 --dist worksteal
# Tests of pages wait for the browser and the server half of the time.
IN_THREE := -n 3 --dist worksteal

.PHONY: reproduce page article test test-slow test-lowest test-peers test-browser docs plotly check format benchmark gpu clean
.DEFAULT_GOAL := help

help:
	@echo "make reproduce   run the core claims on embedded data and write bnlens-out/report.html"
	@echo "make page        open the paper's page and the labs in a browser, with the newest results"
	@echo "make article     compute the states of the front page's figures anew"
	@echo "make test        run the tests, but for the slow ones"
	@echo "make test-slow   run the slow tests"
	@echo "make test-lowest run tests with the lowest versions of what bnlens needs"
	@echo "make test-peers  run the tests with models and tools of other packages"
	@echo "make test-browser run the tests of the page in Chromium (needs chromium and npm)"
	@echo "make docs        build the site of the documents, docs/_build/html"
	@echo "make plotly      renew the plotly.js in our pages, after a new version in tests/browser/package.json"
	@echo "make check       lint, format check, types, import floors"
	@echo "make format      rewrite the sources in the house format"
	@echo "make benchmark   run the benchmarks, results in benchmarks/results/"
	@echo "make gpu         run tests and benchmarks on a GPU, in eight minutes (PYTHON=, DATA=)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed

reproduce: $(VENV)/.installed
	$(BIN)/bnlens reproduce $(ARGS)

article: $(VENV)/.installed-dev
	$(BIN)/python docs/article_states.py bnlens-out benchmarks/results

test: $(VENV)/.installed-dev
	$(BIN)/pytest $(IN_TWO) -m "not slow" $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest $(IN_TWO) -m slow $(ARGS)

$(LOWEST)/.installed: pyproject.toml constraints.txt .ci/lowest_versions.py
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python .ci/lowest_versions.py > $(LOWEST)/pins.txt
	$(LOWEST)/bin/python -m pip install $(PIP_OPTIONS) -r $(LOWEST)/pins.txt -e . pytest pytest-xdist hypothesis
	@touch $@

# PyTorch stays at its version there, so tests of what it alone computes have nothing to add.
OF_PYTORCH := as_loaded couples folded gradients groups masks merge own_losses population ranks recalibrate rows stream tasks

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/bnlens --help > /dev/null
	$(LOWEST)/bin/pytest $(IN_TWO) -m "not slow" $(ARGS) $(foreach room,theory moments measure,tests/$(room) src/bnlens/$(room)) \
		$(foreach part,$(OF_PYTORCH),--ignore tests/measure/test_measure_$(part).py)

$(VENV)/.installed-peers: $(VENV)/.installed-dev
	$(PIP_INSTALL) -e '.[peers]'
	@touch $@

# The import makes a missing package an error; the tests alone would skip.
test-peers: $(VENV)/.installed-peers
	$(BIN)/python -c "import monai, onnx, onnxscript, opacus, transformers, importlib.util as u; assert all(map(u.find_spec, ('lightning', 'tensorboard', 'timm', 'torchvision')))"
	$(BIN)/pytest $(IN_TWO) $(ARGS) tests/*/test_peers_*.py

NODE_MODULES := tests/browser/node_modules

$(NODE_MODULES)/.installed: tests/browser/package.json
	npm install --silent --no-fund --no-audit --no-package-lock --prefix tests/browser
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-dev $(NODE_MODULES)/.installed
	$(PIP_INSTALL) -e '.[browser]'
	@touch $@

test-browser: $(VENV)/.installed-browser
	$(BIN)/pytest $(IN_THREE) $(ARGS) tests/browser

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html
	$(BIN)/pytest --quiet tests/site

plotly: $(NODE_MODULES)/.installed
	install -m 644 $(addprefix $(NODE_MODULES)/plotly.js-basic-dist-min/,plotly-basic.min.js LICENSE) src/bnlens/render/plotly/

$(VENV)/.installed-page: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[web]'
	@touch $@

page: $(VENV)/.installed-page
	$(BIN)/bnlens serve $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/report_cost.py
	$(BIN)/python benchmarks/report_depth.py
	$(BIN)/python benchmarks/regulariser_cost.py
	$(BIN)/python benchmarks/replica_cost.py
	$(BIN)/python benchmarks/network_cost.py
	$(BIN)/python benchmarks/theory_cost.py
	$(BIN)/python benchmarks/layer_cost.py
	$(BIN)/python benchmarks/small_groups.py
	$(BIN)/python benchmarks/sharing_cost.py
	$(BIN)/python benchmarks/train_cost.py
	$(BIN)/python benchmarks/monitor_cost.py
	$(BIN)/python benchmarks/page_load.py

# Sets up nothing, so that it runs without network: in the Python that is given, else in the environment if it is there.
GPU_PYTHON := $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))

gpu:
	$(GPU_PYTHON) benchmarks/gpu.py $(if $(DATA),--data "$(DATA)") $(ARGS)

clean:
	rm -rf $(VENV) $(LOWEST) docs/_build docs/examples docs/reference build dist bnlens-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
