.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
unexport PYTHONDONTWRITEBYTECODE  # or our own modules would be compiled again at every start

BIN := .venv/bin
DEMO := .venv/.ready-demo
TEST := .venv/.ready-test
PEERS := .venv-peers/.ready-peers

# Debian packages the tests need beyond python3 and make. `make test` installs what is missing as root or through sudo;
# otherwise it names what to install and stops. `make demo` must never need one.
DEBIAN_PACKAGES := tesseract-ocr

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1|/p' Makefile | while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: $(DEMO)  ## run the StreamFast example; sets up all it needs, no root
	$(BIN)/segue run examples/streamfast

support: $(TEST)  ## run the support router example
	$(BIN)/segue run examples/support_router

loans: debian-packages $(TEST)  ## run the CrediFlow example
	$(BIN)/segue run examples/crediflow

freight: $(TEST)  ## run the FreightCore example: a simulated day, live
	$(BIN)/segue run examples/freightcore

retraining: $(TEST)  ## run the retraining example
	$(BIN)/segue run examples/retraining

test: debian-packages lint  ## format, lint, types, tests (ARGS="-k retry -n auto" goes to pytest)
	@echo "== tests"
	@$(BIN)/pytest -q -n auto $(ARGS)

test-deep: debian-packages $(TEST)  ## the tests with many more cases; takes long
	@echo "== tests, deep"
	@SEGUE_DEEP=1 $(BIN)/pytest -q -n auto --timeout 1800 $(ARGS)

lint: $(TEST)  ## format, lint, types
	@echo "== format"
	@$(BIN)/ruff format --check --quiet .
	@echo "== lint"
	@$(BIN)/ruff check --quiet .
	@echo "== types"
	@$(BIN)/pyright

format: $(TEST)  ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

bench: $(TEST)  ## benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(TEST) $(PEERS)  ## benchmarks beside LangGraph and DBOS
	$(BIN)/python -m benchmarks --peers $(ARGS)

setup: $(TEST)  ## only set up .venv, with everything for development

clean:  ## remove environments and caches (recorded runs in .segue stay)
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache .hypothesis .coverage* dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

debian-packages:
	@scripts/debian-packages $(DEBIAN_PACKAGES)

# A fuller environment serves a smaller one: see scripts/setup.
$(DEMO): requirements/demo.txt requirements/uv.txt pyproject.toml scripts/setup
	@scripts/setup demo
$(TEST): requirements/test.txt requirements/uv.txt pyproject.toml scripts/setup
	@scripts/setup test
$(PEERS): requirements/peers.txt requirements/uv.txt scripts/setup
	@scripts/setup peers

COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --system-certs --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --annotation-style line --custom-compile-command "make lock"
BESIDE = -c requirements/test.txt pyproject.toml --group build

lock: $(TEST)  ## pin the dependencies again after a change in pyproject.toml (UPGRADE=--upgrade: to the newest)
	$(COMPILE) pyproject.toml --all-extras --group build --group dev -o requirements/test.txt
	$(COMPILE) $(BESIDE) --extra streamfast -o requirements/demo.txt
	$(COMPILE) $(BESIDE) -o requirements/core.txt
	$(COMPILE) --group uv -o requirements/uv.txt
	$(COMPILE) --group peers -o requirements/peers.txt

.PHONY: help demo support loans freight retraining test test-deep lint format bench bench-peers setup clean debian-packages lock
