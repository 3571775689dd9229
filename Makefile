# Each target builds its own .venv; python3 (3.11+), pip and make are all it takes.
# Another interpreter: PYTHON=python3.12 make test

PYTHON ?= python3
# Not ?=: a VENV or VIRTUAL_ENV left in the environment must not redirect us.
VENV := .venv
PY := $(VENV)/bin/python

# What an activated environment or a user's pip settings would change.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_REQUIRE_VIRTUALENV
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# What the tests are to find beside their own tools: EXTRAS=bench for all peers.
EXTRAS :=
comma := ,

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test crash check format bench soak coverage defects fuzz damage soak-crash memory

help:
	@echo "make demo     show the engine at work (installs the core package only)"
	@echo "make test     run the tests"
	@echo "make crash    cut the power everywhere, make every operation fail (some minutes)"
	@echo "make coverage  run the tests and print which lines and branches they run"
	@echo "make defects  take away each sync, check, latch, ... and see a test fail"
	@echo "make fuzz     feed damaged input to all that reads files (SECONDS=60 each)"
	@echo "make check    formatting, lint, types and the house rules"
	@echo "make format   format the code and apply safe fixes"
	@echo "make memory   measure what limits on memory are worth (some minutes)"
	@echo "make bench    measure beside the peers (half an hour; BENCH=--quick: two minutes)"
	@echo "make soak     overwrite the same keys ten million times"
	@echo "make damage   change every byte of small stores, see each one reported"
	@echo "make soak-crash  the crash tests from outside, for some hours"

demo: $(VENV)/.installed-core
	$(VENV)/bin/hypercache demo

# Three for two cores: a test that waits for a process leaves one idle.
test: $(VENV)/.installed-test
	$(PY) -m pytest -n 3

crash: $(VENV)/.installed-test
	$(PY) tools/crash_explorer.py

coverage: $(VENV)/.installed-test
	$(PY) tools/coverage_groups.py --run

# About two hours; it goes on where it was interrupted.
defects: $(VENV)/.installed-test
	$(PY) tools/seed_defects.py

memory: $(VENV)/.installed-test
	$(PY) tools/resident_memory.py

SECONDS := 60
fuzz: $(VENV)/.installed-fuzz
	$(PY) -m fuzz --seconds $(SECONDS)

check: $(VENV)/.installed-test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --strict hypercache
	$(PY) tools/check_imports.py
	$(PY) tools/check_seam.py
	$(PY) tools/check_style.py

format: $(VENV)/.installed-test
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# On the disk that this lies on, with every peer that is installed.
bench: $(VENV)/.installed-bench
	@mkdir -p build
	$(VENV)/bin/hypercache bench --directory build --output docs/benchmarks $(BENCH)

soak: $(VENV)/.installed-core
	$(PY) tools/soak_overwrite.py

# About twenty minutes of two cores; DAMAGE=--thorough takes some hours.
damage: $(VENV)/.installed-test
	$(PY) tools/damage_sweep.py $(DAMAGE)

soak-crash: export HYPERCACHE_KILLS := 2000
soak-crash: export HYPERCACHE_SOAK_S := 600
soak-crash: $(VENV)/.installed-test
	$(PY) -m pytest -n 2 --timeout 14400 tests/crash/test_outside_kills.py \
		tests/crash/test_outside_lmdb.py tests/crash/test_persistent_readers.py \
		tests/crash/test_persistent_processes.py

$(VENV)/.installed-core: pyproject.toml | $(VENV)/.created
	$(PY) -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-bench: $(VENV)/.installed-%: \
		pyproject.toml | $(VENV)/.created
	$(PY) -m pip install --quiet -e '.[$*$(if $(EXTRAS),$(comma)$(EXTRAS))]'
	@touch $@

# Its own rule, because atheris has no wheel for the newest CPythons.
$(VENV)/.installed-fuzz: pyproject.toml | $(VENV)/.created
	@$(PY) -m pip install --quiet -e '.[fuzz]' || { echo "$$NO_ATHERIS" >&2; exit 1; }
	@touch $@

# Two pip runs in one .venv would race: under -j each waits for those before it.
before_test := $(if $(filter demo,$(MAKECMDGOALS)),$(VENV)/.installed-core)
before_bench := $(before_test) \
	$(if $(filter test crash check format coverage defects damage soak-crash memory,$(MAKECMDGOALS)),$(VENV)/.installed-test)
before_fuzz := $(before_bench) \
	$(if $(filter bench,$(MAKECMDGOALS)),$(VENV)/.installed-bench)
$(VENV)/.installed-test: | $(before_test)
$(VENV)/.installed-bench: | $(before_bench)
$(VENV)/.installed-fuzz: | $(before_fuzz)

define OLD_PYTHON
HyperCache needs Python 3.11 or newer, and '$(PYTHON)' is older or missing.
Name another interpreter: PYTHON=python3.12 make $(MAKECMDGOALS)
endef

define NO_ENSUREPIP
'$(PYTHON)' can build no virtual environment: its venv or ensurepip module is
missing, and its pip (22.3 or newer) could not stand in for it.
On Debian or Ubuntu: apt-get install python3-venv
Or name another interpreter: PYTHON=python3.12 make $(MAKECMDGOALS)
endef

define NO_ATHERIS
atheris could not be installed, and 'make fuzz' needs it. It has wheels for CPython
3.11 to 3.14 on Linux (x86-64). With another Python here: remove .venv, then
PYTHON=python3.12 make fuzz. 'make test' runs all targets on their seeds without it.
endef

export OLD_PYTHON NO_ENSUREPIP NO_ATHERIS

# Debian ships python3 without ensurepip; there the system's pip fills the venv.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "$$OLD_PYTHON" >&2; exit 1; }
	@if $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv --clear $(VENV); \
	else \
		$(PYTHON) -m venv --clear --without-pip $(VENV) 2>/dev/null \
			&& $(PYTHON) -m pip --python $(PY) install --quiet pip; \
	fi || { rm -rf $(VENV); echo "$$NO_ENSUREPIP" >&2; exit 1; }
	@touch $@
