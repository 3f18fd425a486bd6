# `make demo`, `make demo-seg` and `make test` need nothing before them: each makes the environment if it is missing.
PY := .venv/bin/python
ENV := .venv/.mmman-env
SOURCES := mmman tools tests configs demo setup.py docs/en/conf.py docs/en/get_started_notebook.ipynb

# Training on a CPU allocates and frees the same large tensors over and over. glibc hands each back to the kernel at once
# and gets it back page by page; keeping them is several times faster on some machines. The results are the same.
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 17179869184
# Threads that wait by spinning make a step several times slower where other programs share the cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: env browser test lint format demo demo-seg docs docs-commands clean
.DEFAULT_GOAL := env

# Nothing to do while the pinned requirements and the script are older than the stamp; `make env -B` runs it anyway.
env: $(ENV)
$(ENV): $(wildcard requirements/*.txt) setup.py tools/dev/make_env.sh
	bash tools/dev/make_env.sh
	@touch $@

# What the test of tools/plan.py's page looks at it with; as root, on Debian.
browser:
	apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium chromium-driver || \
		echo 'no chromium: the tests that want a browser are skipped'

# A test file stays on one process: its tests share what they build. More than eight processes want too much memory.
test: $(ENV)
	$(PY) -m pytest -n logical --maxprocesses 8 --dist loadfile

lint: $(ENV)
	.venv/bin/ruff check $(wildcard $(SOURCES))
	.venv/bin/ruff format --check $(wildcard $(SOURCES))

format: $(ENV)
	.venv/bin/ruff check --fix $(wildcard $(SOURCES))
	.venv/bin/ruff format $(wildcard $(SOURCES))

# RetinaNet-R18 with MAN++ on real photos, from scratch on the CPU.
demo: $(ENV)
	$(PY) demo/run_demo.py

# The same for segmentation: DeepLabV3-R18.
demo-seg: $(ENV)
	$(PY) demo/run_demo_seg.py

# The documentation as HTML, in docs/_build/html; a warning is an error.
docs: $(ENV)
	.venv/bin/sphinx-build -W --keep-going -q -b html docs/en docs/_build/html

# The commands in the documentation that are marked for it, on small data; lists those that are not run, and why.
docs-commands: $(ENV)
	$(PY) tools/dev/run_doc_commands.py

# Everything that this Makefile made, the environment too; pip's cache keeps the compiled ops.
clean:
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .ruff_cache
	find mmman tools tests configs -name __pycache__ -type d -prune -exec rm -rf {} +
