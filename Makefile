# make lab    installs the course into .venv and opens it in JupyterLab
# make test   installs what the tests need too, then runs ruff, mypy and pytest
# make book   installs what the web book needs too, then builds it into build/book
#
# ARGS goes on to JupyterLab or pytest:  make lab ARGS="--no-browser --port 8890"
# TORCH is what pip installs as PyTorch: make lab TORCH="torch==2.13.0"

PYTHON ?= python3

# PyTorch's public index of CPU builds, taken on Linux machines without an NVIDIA GPU.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

export TORCH TORCH_CPU_INDEX

.PHONY: help lab test book

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

lab test book:
	@$(PYTHON) -m megalodon_edu $@ $(ARGS)
