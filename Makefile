PYTHON ?= python3
BIN := .venv/bin
DEV := .venv/.dev-installed
DOCS := .venv/.docs-installed
STORY := docs/_story/.made
GALLERY := docs/_gallery/.made

# One torch thread per test process: the same bits everywhere, and the processes do not fight for cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

.PHONY: demo test test-all fuzz kill check reference docs clean

demo: $(DEV)  ## train on a planted shortcut and write the report
	$(BIN)/longcut demo --out runs/demo

test: check  ## what every change must pass, in minutes
	$(PYTEST) -m "not (slow or data or gpu or browser or hub)"

test-all: check docs  ## everything this machine has the data and the devices for
	$(PYTEST)

N ?= 1000
fuzz: $(DEV)  ## N broken files, folders, options and specs: each is done, or refused in one sentence
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py $(N)

kill: $(DEV)  ## N signals at random moments of commands: nothing is lost, same bits
	OMP_NUM_THREADS=1 $(BIN)/python tests/kill.py $(N)

check: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

reference: $(DEV)  ## the parts of README and docs that are made from the code
	$(BIN)/python docs/make_reference.py

docs: $(DOCS) $(STORY) $(GALLERY)  ## docs/_build/index.html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build

clean:  ## remove what is made again; runs/ and .venv/ stay
	rm -rf build dist docs/_build docs/_gallery docs/_story .pytest_cache .ruff_cache .hypothesis
	find src tests docs -name __pycache__ -type d -exec rm -rf {} +

# torch comes first: what is built against it must find the pinned one.
$(DEV): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("longcut needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(DOCS): $(DEV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# the worked story: its birds, and what its commands say of them with this source
$(STORY): docs/birds.md docs/draw_birds.py docs/make_story.py $(shell find src -type f -not -name '*.pyc') | $(DOCS)
	rm -rf $(@D)
	$(BIN)/python docs/make_story.py $(@D)
	touch $@

# what augmentations, blends and methods make of photographs
$(GALLERY): docs/make_gallery.py $(shell find src -type f -not -name '*.pyc') | $(DOCS)
	rm -rf $(@D)
	$(BIN)/python docs/make_gallery.py $(@D)
	touch $@
