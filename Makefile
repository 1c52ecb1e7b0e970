# kws-pi: train, compress, export and deploy a keyword spotter.

KEYWORD ?= sheila
SIZE ?= tiny
DATA ?=
RECORDINGS ?=
SPEECH ?=
NOISE ?=
SYNTH ?=
CLIPS ?= $(if $(DATA),14000,3000)
SAMPLES ?= 20
WHO ?=
DEVICE ?=
TEACHER ?=
TEACHERS ?=
FOLD ?=
LISTENERS ?=
RECIPE ?=
STORAGE ?=
TRIALS ?=
INSTRUCTIONS ?=
PI ?=
INVENTORY ?=
ASK_PASS ?=
BATCH ?=
PURGE ?=
MODEL ?=
NEGATIVES ?=
POSITIVES ?=
IMPULSES ?=
HELD_OUT ?=
FOLDS ?=
CONFIG ?=
HOURS ?=

ifneq ($(words $(SIZE)) $(filter-out tiny small medium large,$(SIZE)),1 )
$(error SIZE is "$(SIZE)": say SIZE=tiny, SIZE=small, SIZE=medium or SIZE=large)
endif

PYTHON = .venv/bin/python
# The keyword for the shell, and as files are named; known once `setup` has run.
WORDS = '$(subst ','\'',$(KEYWORD))'
NAMED = $(shell $(PYTHON) -m train_host.keyword $(WORDS) 2>&1)
SLUG = $(if $(word 2,$(NAMED)),$(error $(NAMED)),$(NAMED))
BUILD = build/$(SLUG)$(if $(filter-out tiny,$(SIZE)),-$(SIZE))$(if $(FOLD),-fold$(FOLD))
CORPUS = --keyword $(WORDS) $(if $(DATA),--data "$(DATA)") $(if $(SPEECH),--speech "$(SPEECH)") \
    $(if $(NOISE),--noise "$(NOISE)") $(if $(SYNTH),--synthetic "build/synthetic/$(SLUG)") \
    $(if $(RECORDINGS),--recordings "$(RECORDINGS)")

.DEFAULT_GOAL = help
.PHONY: help setup compress pretrain train export report evaluate evaluate-peers bench bench-peers search methods record data corpus demo test lint deb deploy undeploy status logs lab e2e lab-memory armhf clean lock audit soak

help: ## print this list
	@echo "kws-pi: a keyword spotter for the Raspberry Pi"
	@echo
	@sed -n 's/^\([a-z][a-z0-9-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo
	@echo "Variables:"
	@echo "  KEYWORD='the words'  what to listen for: a word, or a phrase of two seconds at most (sheila)"
	@echo "  SIZE=tiny|small|medium|large  what the model may cost; more hears better"
	@echo "  DATA=DIR          recordings in the layout of Speech Commands; without it the embedded corpus"
	@echo "  RECORDINGS=DIR    your own recordings of the keyword, as make record writes them"
	@echo "  SPEECH=DIR        running speech without the keyword, to learn what to ignore"
	@echo "  NOISE=DIR         further noise and music"
	@echo "  SYNTH=1           add synthetic voices that say the keyword and words like it; CLIPS=N of them"
	@echo "  SAMPLES=N         how often make record asks for the keyword (20); WHO=NAME says it,"
	@echo "                    DEVICE=NAME is the microphone (the first card)"
	@echo "  RECIPE=FILE       the way to the student, in place of the one of its SIZE"
	@echo "  TEACHERS=DIR      take base, teacher and tutor from another build"
	@echo "  FOLD=0|1|2        hold out this third of all real recordings (cross-fitting)"
	@echo "  LISTENERS=DIR     with what tutors and verifiers begin, in place of models/base"
	@echo "  STORAGE=URL       an Optuna storage, to share one search among machines"
	@echo "  TRIALS=N          how many trials the search adds"
	@echo "  TEACHER=FILE      take this TorchScript teacher instead of training one"
	@echo "  INSTRUCTIONS=1    let the benchmark count instructions too, which takes minutes (valgrind)"
	@echo "  PI=USER@HOST      the Raspberry Pi to deploy to; several with commas between them"
	@echo "  INVENTORY=FILE    an Ansible inventory of Raspberry Pis, in place of PI"
	@echo "  ASK_PASS=1        ask for the password of sudo on the Pi"
	@echo "  BATCH=N           so many Pis at a time; without it one first, then five at a time"
	@echo "  MODEL=FILE        the manifest (MODEL.json) of the model to show, measure or deploy"
	@echo "  POSITIVES=DIR     clips of the keyword to evaluate on; several folders are parted by spaces, as are"
	@echo "  NEGATIVES=DIR     recordings without the keyword, streamed as they are"
	@echo "  IMPULSES=DIR      impulse responses of rooms"
	@echo "  HELD_OUT=1        evaluate only on running speech and noise that training leaves out"
	@echo "  FOLDS='DIRS'      the builds of a cross-fitting: evaluate each on what it held out; or train on all"
	@echo "                    recordings, with the threshold that the builds need together"
	@echo "  HOURS=24          how many hours of sound the soak plays"
	@echo "  CONFIG=FILE       settings for the Pi; they outweigh its /etc/kws-pi/config.toml"

setup: ## make .venv with every locked package, the build of torch for the CPU
	@train_host/setup.sh $(if $(SYNTH),voices)

compress: train export report ## train, compress, export, verify and print the result table

train: setup ## train base, teacher and student for KEYWORD
ifneq ($(SYNTH),)
	@$(PYTHON) -m train_host.synthesize --keyword $(WORDS) --output "build/synthetic/$(SLUG)" \
	    --clips $(CLIPS)
endif
	@$(PYTHON) -m train_host.train $(CORPUS) --size $(SIZE) --output "$(BUILD)" \
	    $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(TEACHER),--teacher "$(TEACHER)") \
	    $(if $(TEACHERS),--teachers "$(TEACHERS)") \
	    $(if $(FOLD),--fold $(FOLD)) $(if $(FOLDS),--every-recording --folds $(FOLDS)) \
	    $(if $(LISTENERS),--listeners "$(LISTENERS)")

export: setup ## write ONNX, TorchScript and the manifest of the trained student
	@$(PYTHON) -m export --build "$(BUILD)"

pretrain: ## teach the networks that tutors and verifiers begin with to listen
	@train_host/setup.sh pretrain
	@$(PYTHON) -m train_host.pretrain $(if $(DATA),--data "$(DATA)") $(if $(SPEECH),--speech "$(SPEECH)") \
	    $(if $(NOISE),--noise "$(NOISE)") $(if $(SYNTH),--synthetic "build/synthetic/$(SLUG)") \
	    $(if $(FOLD),--fold $(FOLD)) --output "build/listeners$(if $(FOLD),-fold$(FOLD))"

report: setup ## measure teacher and student and print the result table
	@$(PYTHON) -m train_host.report --build "$(BUILD)"

EVALUATE = --keyword $(WORDS) $(if $(HELD_OUT),--held-out) \
    $(foreach file,$(MODEL),--model "$(file)") $(foreach dir,$(POSITIVES),--positives "$(dir)") \
    $(foreach dir,$(NEGATIVES),--negatives "$(dir)") $(foreach dir,$(NOISE),--noise "$(dir)") \
    $(foreach dir,$(IMPULSES),--impulses "$(dir)") $(if $(FOLDS),--folds $(FOLDS))

evaluate: setup ## judge models on hours of audio: misses against false accepts an hour
	@$(PYTHON) -m train_host.evaluation $(EVALUATE)

evaluate-peers: KEYWORD = alexa
evaluate-peers: ## the same beside microWakeWord and openWakeWord, for "alexa" or another word of theirs
	@train_host/setup.sh peers
	@$(PYTHON) -m train_host.evaluation_peers $(EVALUATE) $(if $(INSTRUCTIONS),--instructions)

bench-peers: ## measure what listening takes, ours beside microWakeWord and openWakeWord
	@train_host/setup.sh peers
	@$(PYTHON) -m train_host.bench_peers $(foreach file,$(MODEL),--model "$(file)") \
	    $(if $(INSTRUCTIONS),--instructions)

bench: setup ## measure base, shipped models and MODEL in one run
	@mkdir -p build
	@$(PYTHON) -m train_host.bench $(if $(MODEL),--model "$(MODEL)") --json build/bench.json \
	    $(if $(INSTRUCTIONS),--instructions)

search: setup ## search shapes and recipes for the front of MACs, bytes and quality (STORAGE=)
	@$(PYTHON) -m train_host.search $(CORPUS) --build "$(BUILD)" --output "$(BUILD)/search.json" \
	    $(if $(STORAGE),--storage "$(STORAGE)") $(if $(TRIALS),--trials $(TRIALS))

methods: setup ## measure every compression method, each alone and trained alike
	@$(PYTHON) -m train_host.laboratory $(CORPUS) --build "$(BUILD)" --output "$(BUILD)/laboratory.json"

record: setup ## record your own samples of KEYWORD from a microphone, into recordings/
	@$(PYTHON) -m train_host.record --keyword $(WORDS) --samples $(SAMPLES) --output "recordings/$(SLUG)" \
	    $(if $(WHO),--who "$(WHO)") $(if $(DEVICE),--device "$(DEVICE)")

data: setup ## download Speech Commands v0.01 (1.5 GB) to data/speech_commands
	@$(PYTHON) -m train_host.download data/speech_commands

corpus: ## rebuild the embedded corpus of synthetic voices
	@train_host/setup.sh voices
	@$(PYTHON) -m train_host.embedded

demo: setup ## play running speech through the detector and show the timeline
	@$(PYTHON) -m device.demo $(if $(MODEL),--model "$(MODEL)")

test: setup ## run every test; those of the device also on Python 3.13
	@tests/run.sh

lint: setup ## check the style and the types: ruff, mypy, shellcheck
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run train_host/*.sh tests/*.sh tests/lab/*.sh deploy/debian/p* \
	    deploy/ansible/scripts/*.sh; \
	 else echo "lint: no shellcheck on this machine, so the shell scripts were not checked"; fi

deb: setup ## build the Debian package, for every Pi, in build/
	@$(PYTHON) -m deploy.build_deb $(if $(MODEL),--model "$(MODEL)")

FLEET = @$(PYTHON) -m deploy.fleet $@ $(if $(PI),--pi "$(PI)") \
    $(if $(INVENTORY),--inventory "$(INVENTORY)") $(if $(ASK_PASS),--ask-pass)

.PHONY: named ansible
named:
	@test -n "$(PI)$(INVENTORY)" || { echo "say which Raspberry Pi: make $(MAKECMDGOALS)" \
	    "PI=pi@raspberrypi.local, several with commas between them, or INVENTORY=FILE" >&2; exit 2; }

ansible:
	@train_host/setup.sh deploy

deploy: named ansible ## install on the Pis named by PI= or INVENTORY= and start the service
	$(FLEET) $(if $(MODEL),--model "$(MODEL)") $(if $(CONFIG),--config "$(CONFIG)") \
	    $(if $(BATCH),--batch "$(BATCH)")

undeploy: named ansible ## remove it from those Pis (PURGE=1: their settings as well)
	$(FLEET) $(if $(PURGE),--purge)

status: named ansible ## show how the service is on those Pis
	$(FLEET)

logs: named ansible ## follow the service's journal on those Pis
	$(FLEET)

lab: setup ## boot an emulated Raspberry Pi 3, built on the first call (root, 45 minutes)
	@$(PYTHON) tests/lab/machine.py start

e2e: ansible ## deploy to the emulated Pi, or to PI=, and try every fault there
	@PI="$(PI)" $(PYTHON) -m pytest -v -p no:cacheprovider tests/lab/check_*.py

lab-memory: ansible ## measure peak memory on the emulated Pi, beside microWakeWord's
	@$(PYTHON) tests/lab/memory.py

armhf: setup ## try the package in a 32-bit Debian under qemu (root)
	@$(PYTHON) -m pytest -v -p no:cacheprovider tests/lab/armhf.py

clean: ## remove what the other targets built, but not .venv and data/
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

audit: setup ## check every locked package for known vulnerabilities, where the network allows
	@test -x build/audit/bin/pip-audit || { python3 -m venv build/audit && \
	    build/audit/bin/pip install -q "$$(sed -n 's/^audit = \["\(.*\)"\]/\1/p' pyproject.toml)"; } || \
	    echo "audit: pip-audit cannot be installed here, so nothing was checked"
	@test ! -x build/audit/bin/pip-audit || $(PYTHON) -m deploy.audit --tool build/audit/bin/pip-audit

soak: setup ## play HOURS=24 of sound through the daemon's parts: memory flat, silence silent
	@PYTHONPATH=. $(PYTHON) tests/soak.py $(if $(HOURS),--hours $(HOURS)) $(if $(MODEL),--model "$(MODEL)")

# Everything but torch and torchaudio is pinned with hashes for Python 3.11 to 3.13 on x86-64
# and aarch64; one set of versions serves all groups.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile -q pyproject.toml $(if $(UPGRADE),--upgrade) \
    --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
    --no-emit-package torch --no-emit-package torchaudio
UNIVERSAL = $(COMPILE) --universal --fork-strategy fewest

lock: ## resolve the dependency groups of pyproject.toml into requirements/ (UPGRADE=1: newest)
	python3 -m venv build/lock
	build/lock/bin/pip install -q "$$(sed -n 's/^lock = \["\(.*\)"\]/\1/p' pyproject.toml)"
	$(UNIVERSAL) --group build --group host --group test --group lint -o requirements/host.txt
	$(UNIVERSAL) --group build -c requirements/host.txt -o requirements/build.txt
	$(UNIVERSAL) --group build --group device --group test -c requirements/host.txt -o requirements/device.txt
	$(UNIVERSAL) --group voices -c requirements/host.txt -o requirements/voices.txt
	$(UNIVERSAL) --group peers -c requirements/host.txt -o requirements/peers.txt
	$(UNIVERSAL) --group pretrain -c requirements/host.txt -o requirements/pretrain.txt
	$(UNIVERSAL) --group deploy -c requirements/host.txt -o requirements/deploy.txt
	$(COMPILE) --no-deps --group lab -o requirements/lab.txt
