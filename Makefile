# The two commands of a new user are `make demo` and `make test`. Both make an environment in .venv from a plain python3 and
# a C compiler, with what each of them needs; later calls install and compile only what has changed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
# setuptools warns of what any editable installation is
INSTALL = PYTHONWARNINGS=ignore $(PIP) install --no-build-isolation --no-compile --editable
# what pip would do with one processor; some packages hold files that are not meant for this Python
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
DEMO_OUTPUT ?= demo-output
FIELD = --shape 512 512 --stars 3000 --bad-columns 1 --seed 2018
KERNELS = $(wildcard cython_ext/*.pyx cython_ext/*.pxd cython_ext/*.h)
# the engine's kernels and NumPy's library must not compete for cores
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# tests run in as many processes as there are cores; what a module prepares is prepared once where they are handed out in order
AT_ONCE ?= -n auto --maxprocesses 8 --dist worksteal

define PREREQUISITES
import os, shutil, sys, sysconfig
def stop(what):
    sys.stderr.write("crowdsource: "+what+"\n")
    sys.exit(1)
if sys.version_info < (3, 11):
    stop("$(PYTHON) is Python %d.%d, but 3.11 or newer is needed: name one, as in 'make demo PYTHON=python3.12'" % sys.version_info[:2])
compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
if not shutil.which(compiler):
    stop("no C compiler: there is no '%s' on the path; install one (Debian: build-essential, macOS: xcode-select --install) or name one, as in 'make demo CC=clang'" % compiler)
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    stop("the headers of Python are missing (no Python.h in %s): install them (Debian: python3-dev)" % sysconfig.get_path("include"))
try:
    import ensurepip, venv
except ImportError:
    stop("this Python cannot make environments: install its venv module (Debian: python3-venv)")
endef
export PREREQUISITES

define REQUIREMENTS
import tomllib
with open("pyproject.toml", "rb") as file:
    content = tomllib.load(file)
print(*content["build-system"]["requires"], sep="\n")
print("project", content["project"])
endef
export REQUIREMENTS

.PHONY: demo test bench peers lint docs notebooks site field clean help
help:
	@echo "make demo    fit the packaged field; writes a catalog and a picture to $(DEMO_OUTPUT)/"
	@echo "make test    run the tests"
	@echo "make bench   time and score the command, and other programs that are there, on simulated fields"
	@echo "make peers   install other programs for that: photutils, sep, version 0.5.9 of the published code (Python 3.11)"
	@echo "make lint    look for faults of style"
	@echo "make docs    write the generated parts of the documentation"
	@echo "make site    build the documentation as a site in build/site, and run its tutorials"
	@echo "make notebooks  run the notebooks of the documentation and keep what they show"
	@echo "make field   simulate the packaged field again"
	@echo "make clean   remove everything that was made"

demo: $(VENV)/.demo $(VENV)/.kernels
	@$(ONE_THREAD) $(BIN)/crowdsource demo --out $(DEMO_OUTPUT)

test: $(VENV)/.test $(VENV)/.kernels
	@$(ONE_THREAD) $(BIN)/python -m pytest -q $(AT_ONCE)

bench: $(VENV)/.test $(VENV)/.kernels
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.peers.run

peers:
	@test -x build/peers/bin/python || $(PYTHON) -m venv build/peers
	@build/peers/bin/python -m pip install --quiet --disable-pip-version-check photutils sep astropy scipy
	@test -x build/published/bin/python || $(PYTHON) -m venv build/published
	@build/published/bin/python -m pip install --quiet --disable-pip-version-check 'numpy<2' 'scipy==1.10.*' astropy \
		crowdsourcephoto==0.5.9

# import-linter wants the rooms in one folder, as they are installed
lint: $(VENV)/.lint $(VENV)/.kernels
	@$(BIN)/ruff check .
	@rm -rf build/tree && $(BIN)/python setup.py --quiet build_py --build-lib build/tree >/dev/null 2>&1
	@cp pyproject.toml build/tree && cd build/tree && $(abspath $(BIN))/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_house.py

docs: $(VENV)/.test $(VENV)/.kernels
	@$(ONE_THREAD) $(BIN)/python docs/generate.py

notebooks: $(VENV)/.test $(VENV)/.kernels
	@for page in docs/notebooks/*.ipynb; do $(ONE_THREAD) $(BIN)/python docs/run_notebook.py $$page; done

# warnings are errors: links and anchors that lead nowhere, names that are not there, tutorials that fail
site: $(VENV)/.docs $(VENV)/.kernels
	@$(ONE_THREAD) $(BIN)/python -m sphinx -W --keep-going -n -q -b html -d build/site-doctrees docs build/site
	@echo "build/site/index.html"

field: $(VENV)/.demo $(VENV)/.kernels
	$(BIN)/crowdsource simulate data/demo/demo.fits.fz --overwrite $(FIELD)

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "crowdsource: there is no $(PYTHON): install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c "$$PREREQUISITES"
	@echo "making the environment in $(VENV): this takes a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip  # the one that Python 3.11 brings takes three times as long to choose versions
	@touch $@

# what pyproject.toml asks to install; changes of its other tables, such as a tool's settings, install nothing
$(VENV)/.requirements: pyproject.toml $(VENV)/.python
	@$(BIN)/python -c "$$REQUIREMENTS" > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# what builds the kernels is installed once, not anew for each build as pip would
$(VENV)/.builder: $(VENV)/.requirements
	@grep -v '^project ' $< > $(VENV)/builder.txt
	@$(PIP) install --requirement $(VENV)/builder.txt
	@touch $@

# those that changed are compiled, as many at a time as there are processors
$(VENV)/.kernels: $(VENV)/.builder setup.py $(KERNELS)
	@$(BIN)/python setup.py --quiet build_ext --inplace >/dev/null
	@touch $@

$(VENV)/.demo: $(VENV)/.requirements | $(VENV)/.kernels
	@$(INSTALL) '.[plot]'
	@$(COMPILE)
	@touch $@

$(VENV)/.test: $(VENV)/.requirements | $(VENV)/.kernels
	@$(INSTALL) '.[test]'
	@$(COMPILE)
	@touch $@

$(VENV)/.docs: $(VENV)/.requirements | $(VENV)/.kernels
	@$(INSTALL) '.[docs]'
	@$(COMPILE)
	@touch $@

$(VENV)/.lint: $(VENV)/.requirements | $(VENV)/.kernels
	@$(INSTALL) '.[test,lint]'
	@$(COMPILE)
	@touch $@

clean:
	rm -rf $(VENV) build dist docs/generated $(DEMO_OUTPUT) *.egg-info .pytest_cache .ruff_cache .hypothesis cython_ext/*.c cython_ext/*.so
	find crowdsource instruments cython_ext data tests docs benchmarks -name __pycache__ -type d -exec rm -rf {} +
