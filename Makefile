# On a fresh machine: `make demo`, `make demo-detection`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo

DETECTION := runs/demo_detection

.PHONY: demo demo-detection test clean

# Renders the streets on its first run; each command can be given by hand too.
demo: $(READY)
	$(BIN)/python train.py --config=configs/demo_teacher.py --workdir=$(DEMO)/teacher
	$(BIN)/python train.py --config=configs/demo_delta.py --workdir=$(DEMO)/delta --config.teacher=$(DEMO)/teacher
	$(BIN)/python eval.py --config=configs/demo_delta.py --workdir=$(DEMO)/delta --config.teacher=$(DEMO)/teacher --report=$(DEMO)/report.html

demo-detection: $(READY)
	$(BIN)/python train.py --config=configs/demo_detection_teacher.py --workdir=$(DETECTION)/teacher
	$(BIN)/python train.py --config=configs/demo_detection.py --workdir=$(DETECTION)/delta --config.teacher=$(DETECTION)/teacher
	$(BIN)/python eval.py --config=configs/demo_detection.py --workdir=$(DETECTION)/delta --config.teacher=$(DETECTION)/teacher --report=$(DETECTION)/report.html

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

$(READY): pyproject.toml requirements.txt
	@echo "Installing into $(VENV), a minute or so"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache
