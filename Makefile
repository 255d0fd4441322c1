# make demo         set up what is missing, train and test EQL on a synthetic set
# make experiment   set up what is missing, repeat docs/results.md
# make test         set up what is missing, run the tests
# make lint         set up what is missing, run the linters
# make env          set up only
#
# STACK=openmmlab (default) installs mmengine, mmcv and mmdet of OpenMMLab
# into .venv; STACK=onedl the maintained forks onedl-* into .venv-onedl.
# A finished step leaves a stamp in the environment and is not repeated; an
# interrupted one is started again.

STACK ?= openmmlab
PYTHON ?= python3
TORCH ?= torch==2.13.0

ifeq ($(STACK),openmmlab)
  VENV ?= .venv
  MMCV = mmcv==2.1.0
else ifeq ($(STACK),onedl)
  VENV ?= .venv-onedl
  MMCV = onedl-mmcv==2.3.6
else
  $(error expected STACK=openmmlab or STACK=onedl, but got STACK=$(STACK))
endif

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip
# Never in isolation: pip would build mmcv without its operators.
BUILD_MMCV = MMCV_WITH_OPS=1 $(PIP) install --no-build-isolation \
  -c constraints/$(STACK).txt
HAS_OPS = $(BIN)/python -c 'import torch, mmcv._ext'
STAMPS = $(VENV)/.stamps

# Idle threads of torch spin otherwise, and starve what else runs here.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo experiment test lint env clean
.DELETE_ON_ERROR:

demo: env
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/demo.py

experiment: env
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/experiment.py

test: env
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

lint: env
	$(BIN)/flake8 eql_mmdet tools tests configs
	$(BIN)/isort --check-only --diff eql_mmdet tools tests configs
	$(BIN)/yapf --diff --recursive eql_mmdet tools tests configs
	$(BIN)/codespell

env: $(STAMPS)/project

$(STAMPS)/python:
	@echo "[1/4] Python environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] \
	  <= (3, 12))' || { echo "eql_mmdet needs Python 3.10 to 3.12; $(PYTHON)" \
	  "is another: try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints/$(STACK).txt pip setuptools wheel ninja psutil
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: $(STAMPS)/python
	@echo "[2/4] $(TORCH)"
	$(PIP) install -c constraints/$(STACK).txt $(TORCH)
	touch $@

$(STAMPS)/mmcv: $(STAMPS)/torch
	@echo "[3/4] $(MMCV), compiled here: 10 to 30 minutes on 2 cores, once"
	$(PIP) install -c constraints/$(STACK).txt -e .[$(STACK)-engine]
	$(BUILD_MMCV) $(MMCV)
	$(HAS_OPS) || $(BUILD_MMCV) --no-cache-dir --force-reinstall --no-deps \
	  $(MMCV)
	$(HAS_OPS)
	touch $@

$(STAMPS)/project: $(STAMPS)/mmcv setup.cfg constraints/$(STACK).txt
	@echo "[4/4] MMDetection ($(STACK)) and eql_mmdet"
	$(PIP) install -c constraints/$(STACK).txt -e .[$(STACK)-engine,$(STACK),tests]
	$(HAS_OPS)
	$(BIN)/python -c 'import eql_mmdet; print(eql_mmdet.__version__)'
	@echo "eql_mmdet is ready in $(VENV)"
	touch $@

clean:
	rm -rf $(VENV) work_dirs/demo *.egg-info
