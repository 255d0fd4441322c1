# make demo         set up what is missing, train and test EQL on a synthetic set
# make experiment   set up what is missing, repeat docs/which.md
# make test         set up what is missing, run the tests
# make test-all     set up what is missing, run the slow tests too
# make test-gpu     set up what is missing, run the tests for a GPU, if any,
#                   and compare it with the authors' code
# make lint         set up what is missing, run the linters
# make env          set up only
#
# STACK=openmmlab (default) installs mmengine, mmcv and mmdet of OpenMMLab
# into .venv; STACK=onedl the maintained forks onedl-* into .venv-onedl.
# MMCV=lite (default) takes the operators of eql_mmdet (host/ops.py),
# MMCV=compiled compiles those of MMCV; TORCH=torch==... takes another torch.
# A finished step leaves a stamp with its version in the environment and is
# not repeated; an interrupted one is started again, and one with another
# version takes its place.

STACK ?= openmmlab
PYTHON ?= python3
TORCH ?= torch==2.13.0
MMCV ?= lite
# Processes of "make test"; one takes 2 GB.
JOBS ?= 2
# Tests of one file share what takes long to set up; the order is that of
# tests/conftest.py.
BY_FILE = --dist loadfile --no-loadscope-reorder

ifeq ($(STACK),openmmlab)
  VENV ?= .venv
  COMPILED = mmcv==2.1.0
  LITE = mmcv-lite==2.1.0
else ifeq ($(STACK),onedl)
  VENV ?= .venv-onedl
  COMPILED = onedl-mmcv==2.3.6
  LITE = onedl-mmcv==2.3.6
else
  $(error expected STACK=openmmlab or STACK=onedl, but got STACK=$(STACK))
endif
ifeq ($(filter lite compiled,$(MMCV)),)
  $(error expected MMCV=lite or MMCV=compiled, but got MMCV=$(MMCV))
endif

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip
# torch before 2.3 was compiled for numpy 1, which bounds much else.
ifneq ($(filter torch==2.1 torch==2.1.% torch==2.2 torch==2.2.%,$(TORCH)),)
  CONSTRAINTS = constraints/old-torch.txt
else
  CONSTRAINTS = constraints/$(STACK).txt
endif
CONSTRAINED = -c $(CONSTRAINTS)
# Never in isolation: pip would build mmcv without its operators.
BUILD_MMCV = MMCV_WITH_OPS=1 $(PIP) install --no-build-isolation $(CONSTRAINED)
# onedl-mmcv is built without its operators, and not taken from pip's cache,
# where one with them may lie.
INSTALL_LITE = MMCV_WITH_OPS=0 $(PIP) install --no-cache-dir $(CONSTRAINED)
HAS_OPS = $(BIN)/python -c 'import torch, mmcv._ext'
STAMPS = $(VENV)/.stamps
TORCH_STAMP = $(STAMPS)/torch-$(subst =,-,$(subst $() ,,$(TORCH)))
MMCV_STAMP = $(STAMPS)/mmcv-$(MMCV)-for-$(notdir $(TORCH_STAMP))

# Idle threads of torch spin otherwise, and starve what else runs here.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo experiment test test-all test-gpu lint env clean
.DELETE_ON_ERROR:

demo: env
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/demo.py

experiment: env
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/experiment.py

test: env
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n $(JOBS) $(BY_FILE)

test-all: env
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n $(JOBS) $(BY_FILE) -m "not gpu"

# Without a GPU it says so and succeeds: there is nothing that could fail.
test-gpu: env
	@$(BIN)/python -c 'import torch; exit(not torch.cuda.is_available())' || \
	  { echo "torch finds no GPU here, so nothing was tested"; exit 0; } && \
	PATH="$(CURDIR)/$(BIN):$$PATH" EQL_TEST_DEVICE=cuda \
	  $(BIN)/python -m pytest -m gpu && \
	$(BIN)/python tools/check_parity.py --device cuda

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
	$(PIP) install -q $(CONSTRAINED) pip setuptools wheel
	mkdir -p $(STAMPS) && touch $@

$(TORCH_STAMP): $(STAMPS)/python
	@echo "[2/4] $(TORCH)"
	rm -f $(STAMPS)/torch* $(STAMPS)/mmcv* $(STAMPS)/project
	$(PIP) install $(CONSTRAINED) $(TORCH)
	touch $@

$(MMCV_STAMP): $(TORCH_STAMP)
	@echo "[3/4] MMCV ($(STACK), $(MMCV))"
	rm -f $(STAMPS)/mmcv* $(STAMPS)/project
	$(PIP) uninstall -q -y mmcv mmcv-lite onedl-mmcv
	$(PIP) install $(CONSTRAINED) -e .[$(STACK)-engine]
ifeq ($(MMCV),compiled)
	@echo "compiled here: 10 to 40 minutes on 2 cores, once"
	$(PIP) install -q $(CONSTRAINED) wheel ninja psutil
	$(BUILD_MMCV) $(COMPILED)
	$(HAS_OPS) || $(BUILD_MMCV) --no-cache-dir --force-reinstall --no-deps \
	  $(COMPILED)
	$(HAS_OPS)
else
	$(INSTALL_LITE) $(LITE)
endif
	touch $@

$(STAMPS)/project: $(MMCV_STAMP) setup.cfg $(CONSTRAINTS)
	@echo "[4/4] MMDetection ($(STACK)) and eql_mmdet"
	$(PIP) install $(CONSTRAINED) -e .[$(STACK)-engine,$(STACK),synthetic,tests]
	$(BIN)/python -c 'import eql_mmdet; print(eql_mmdet.__version__)'
	@echo "eql_mmdet is ready in $(VENV)"
	touch $@

clean:
	rm -rf $(VENV) *.egg-info
