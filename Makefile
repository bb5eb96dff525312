# `make` alone says what there is. Each target sets itself up: a fresh clone needs python3 (3.11 or newer) and make.

PORT ?=
ARGS ?=

# The first python3 that is new enough; a name may exist and still not run, so each is asked.
find_python = for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	test -n "$$python" || { echo "ModelMuxer needs Python 3.11 or newer; install it and run make again." >&2; exit 1; }

# $(call make_venv,FOLDER)
make_venv = @$(find_python); $$python -m venv --clear $(1) || { rm -rf $(1); \
	echo "Python could not make $(1). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# $(call install,FOLDER,WHAT,FREELY): uv takes a third of pip's time; where it cannot be had, pip does the same.
install = @echo "Installing into $(1), this once ..." >&2; \
	{ $(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv && \
	UV_SYSTEM_CERTS=1 $(1)/bin/uv pip install --quiet --python $(1)/bin/python $(if $(3),,-c constraints.txt) $(2); } || \
	{ echo "uv did not manage it; trying pip." >&2; \
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(3),,-c constraints.txt) $(2); }

.PHONY: help run demo test lint clean bench bench-list chaos check-clients check-fuzz check-litellm check-nightly check-redis check-atheris check-reload constraints image-lock
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1:/p' Makefile | while IFS=: read -r name words; do printf '  make %-14s %s\n' "$$name" "$$words"; done

run: .venv/run.stamp  ## run the proxy on port 8000; PORT=9000 for another, ARGS="--demo" for more
	@exec .venv/bin/muxer serve $(if $(PORT),--port $(PORT)) $(ARGS)

demo: .venv/run.stamp  ## send sample prompts to offline providers and show routes and costs
	@exec .venv/bin/muxer demo $(ARGS)

test: .venv/dev.stamp  ## run the tests, two at a time; ARGS="-k budget" for some of them
	@exec .venv/bin/python -m pytest --numprocesses 2 $(ARGS)

lint: .venv/dev.stamp  ## check format, style, types and imports
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: .venv/dev.stamp  ## the proxy beside a bare pass-through, as ratios; LITELLM_VENV=FOLDER for a third, ARGS="--long"
	@exec .venv/bin/python -m bench.gateway $(if $(LITELLM_VENV),--litellm $(LITELLM_VENV)) $(ARGS)

bench-list: .venv/dev.stamp  ## list the benchmarks and how to run each
	@for file in $$(grep -l __main__ bench/*.py); do echo ".venv/bin/python -m bench.$$(basename $$file .py)"; \
	sed -n '1s/^"""/    /p' $$file | sed 's/"""$$//'; done

chaos: .venv/dev.stamp  ## every fault against real processes, and what came of the money; ARGS="--short" or "--only F7"
	@exec .venv/bin/python -m tests.chaos $(ARGS)

# One environment for each client, since they disagree on versions. CLIENT=llm-python runs one of them.
CLIENTS := $(or $(CLIENT),node $(patsubst tests/clients/%/requirements.txt,%,$(wildcard tests/clients/*/requirements.txt)))
check-clients: .venv/dev.stamp $(CLIENTS:%=.venv-clients/%/stamp)  ## real clients of others against a proxy; CLIENT=llm-python for one
	@failed=; for client in $(CLIENTS); do echo "$$client:"; \
	python=.venv-clients/$$client/bin/python; test $$client != node || python=.venv/bin/python; \
	$$python -m pytest -c tests/clients/pytest.ini tests/clients/$$client $(ARGS) \
	|| failed="$$failed $$client"; done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

check-litellm: .venv-litellm/stamp  ## LiteLLM itself: its providers, a CustomLLM and a CustomLogger under the proxy
	@exec .venv-litellm/bin/python -m pytest -c tests/litellm/pytest.ini tests/litellm $(ARGS)

# A failure prints how to repeat it, and .hypothesis keeps it for the next run; SEED=N draws the same histories again.
check-nightly: .venv/dev.stamp  ## what takes minutes: 3,500 drawn histories of each store, 5,000 requests, their cost; SEED=N
	@seed=$(or $(SEED),$$(date +%s)); echo "SEED=$$seed"; \
	MUXER_HISTORIES=3500 .venv/bin/python -m pytest -k any_history --hypothesis-seed=$$seed --durations=3 \
		-o faulthandler_timeout=0 tests/plugins $(ARGS)
	@.venv/bin/python -m pytest -m slow tests/test_oracle.py tests/test_cuts.py tests/faults
	@.venv/bin/python -m tests.chaos --short
	.venv/bin/python -m bench.gateway --rounds 3 --seconds 2 --connections 64 --rates --no-streams --no-workers --at-most 4
	.venv/bin/python -m bench.growth --rounds 2 --seconds 1 --records 100000 --users 10000 --idle 1000 --at-most 3

check-redis: .venv/dev.stamp  ## the shared store under load, cuts and failover; SERVER=/usr/bin/redis-server for another
	@SERVER=$(SERVER) exec .venv/bin/python -m pytest -s -m "" tests/plugins/test_muxer_redis*.py $(ARGS)

check-reload: .venv/dev.stamp  ## live reload under load: 200 changed files, two workers, clients that stream; three minutes
	@exec .venv/bin/python -m pytest -s -m "" -o faulthandler_timeout=0 tests/test_reloads.py $(ARGS)

check-fuzz: .venv/run.stamp .venv-fuzz/stamp  ## two minutes of generated requests against a proxy in demo mode
	@exec .venv-fuzz/bin/python tests/fuzz/run.py $(ARGS)

check-atheris: .venv-atheris/stamp  ## ten minutes of guided bytes for each parser; SECONDS=60 TARGET=body for less
	@failed=; for target in $(or $(TARGET),sse $(foreach one,body routing expression,$(one) $(one)_pieces)); do echo "$$target:"; \
	.venv-atheris/bin/python -m tests.fuzz.guided .venv-atheris/corpus $(or $(SECONDS),600) $$target 2>&1 | grep -v '^INFO\|^WARNING\|^"\|^#'; \
	! ls .venv-atheris/corpus/$$target-* 2>/dev/null || failed="$$failed $$target"; done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

constraints: .venv/dev.stamp  ## move constraints.txt to the newest releases that fit together
	@echo uv | UV_SYSTEM_CERTS=1 .venv/bin/uv pip compile --quiet --upgrade --no-header --no-annotate \
		--python-version 3.11 --extra dev --extra redis pyproject.toml - --output-file constraints.txt

# What the image installs, each file by its hash. No address of a registry is written down.
lock = UV_SYSTEM_CERTS=1 .venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate \
	--python-version 3.13 --python-platform linux -c constraints.txt
image-lock: .venv/dev.stamp  ## renew image/*.txt, the hashes of what the image is built from, by constraints.txt
	@$(lock) --extra redis --extra jwt pyproject.toml --output-file image/requirements.txt
	@echo hatchling | $(lock) - --output-file image/build.txt

clean:  ## remove what make and the tests made; never your muxer.db
	rm -rf .venv .venv-atheris .venv-clients .venv-fuzz .venv-litellm build dist .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find bench muxer plugins scripts tests -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	$(call make_venv,.venv)

.venv-clients/%/bin/python:
	$(call make_venv,.venv-clients/$*)
.PRECIOUS: .venv-clients/%/bin/python

.venv-litellm/bin/python:
	$(call make_venv,.venv-litellm)

.venv/run.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(call install,.venv,-e .)
	@touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(call install,.venv,-e '.[dev]')
	@touch .venv/run.stamp $@

.venv-fuzz/bin/python:
	$(call make_venv,.venv-fuzz)

.venv-fuzz/stamp: .venv-fuzz/bin/python tests/fuzz/requirements.txt
	$(call install,.venv-fuzz,-r tests/fuzz/requirements.txt)
	@touch $@

.venv-atheris/bin/python:
	$(call make_venv,.venv-atheris)

.venv-atheris/stamp: .venv-atheris/bin/python tests/fuzz/atheris.txt pyproject.toml constraints.txt
	$(call install,.venv-atheris,-e . -r tests/fuzz/atheris.txt)
	@touch $@

# Each client brings the versions it wants, some of them older than those in constraints.txt.
.venv-clients/%/stamp: .venv-clients/%/bin/python tests/clients/%/requirements.txt
	$(call install,.venv-clients/$*,-r tests/clients/$*/requirements.txt,freely)
	@touch $@

# The tests that are not in the wheel.
OWN := .venv-clients/openai-own-suite
$(OWN)/stamp: $(OWN)/source/PKG-INFO
$(OWN)/source/PKG-INFO: tests/clients/openai-own-suite/requirements.txt | $(OWN)/bin/python
	@rm -rf $(@D) && mkdir $(@D)
	@$(OWN)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary openai --dest $(OWN) \
	$$(sed -n 's/^openai.*==/openai==/p' $<)
	@tar -xzf $(OWN)/openai-*.tar.gz -C $(@D) --strip-components 1 && rm $(OWN)/openai-*.tar.gz
	@touch $@

.venv-clients/node/stamp: tests/clients/node/package.json
	@command -v node >/dev/null && command -v npm >/dev/null || \
	{ echo "The clients for Node need node and npm; CLIENT=NAME runs one of the others." >&2; exit 1; }
	@mkdir -p $(@D) && cp $< $(@D)/
	@cd $(@D) && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

.venv-litellm/stamp: .venv-litellm/bin/python tests/litellm/requirements.txt pyproject.toml constraints.txt
	$(call install,.venv-litellm,-e . -r tests/litellm/requirements.txt)
	@touch $@
