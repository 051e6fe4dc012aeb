# Two commands do everything: `make demo` (the main job) and `make test` (all checks and tests).

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

# python3-venv: the venv below; mmdebstrap: makes the base image where no registry answers
RUN_PACKAGES := python3-venv mmdebstrap
# busybox-static: small images for tests; docker-registry: a real registry on loopback; iproute2, nftables:
# look at the kernel's network state from outside; uidmap: user namespaces of unprivileged users; passt: the way out of
# theirs; qemu-system-x86: a machine with cgroup version 2 alone
# zstd: archives as other tools compress them; conmon: a caller of OCI runtimes; strace: the writes of which a power cut
# leaves some; systemd, libpam-systemd, dbus, e2fsprogs: the first process, users' sessions and the disk of a machine that boots (systemd-sysv, which would
# make it this machine's, is not installed); zsh, fish: shells that complete skiff's commands; openssl: certificates
TEST_PACKAGES := curl xz-utils busybox-static docker-registry iproute2 nftables uidmap passt qemu-system-x86 zstd conmon strace \
	systemd libpam-systemd dbus e2fsprogs zsh fish openssl
# runc: the peer that the launch benchmark measures against
BENCH_PACKAGES := runc
# files to whichever of two processes is free, in the order of tests/conftest.py; named tests run in one
PARALLEL := $(if $(T),,-n 2 --dist loadfile --no-loadscope-reorder)

.PHONY: demo test unit check bench clean

demo: $(VENV)/installed
	@.ci/packages $(RUN_PACKAGES)
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python samples/webstack/demo.py

# T names tests: make test T=tests/integration/engine/test_logs.py
test: $(if $(T),$(VENV)/tested,check)
	@.ci/packages $(TEST_PACKAGES)
	SKIFF_TEST_DOCKER="$$(.ci/docker-cli)" SKIFF_TEST_KERNEL="$$(.ci/kernel)" \
		SKIFF_TEST_PLUGINS="$$(.ci/buildx)" SKIFF_TEST_PYTHONS="$$(.ci/pythons)" $(BIN)/python -m pytest $(PARALLEL) $(T)

# no root, no engine, no apt. With bytecode, also where the environment forbids it: else both processes compile all tests
unit: export PYTHONDONTWRITEBYTECODE =
unit: $(VENV)/tested
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/unit $(T)

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/tested
	@.ci/packages $(TEST_PACKAGES) $(BENCH_PACKAGES)
	$(BIN)/python -m tests.bench

# the packages come first: on a fresh Debian, python3-venv is one of them
$(VENV)/installed: pyproject.toml
	@.ci/packages $(RUN_PACKAGES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	$(BIN)/python -m compileall -q compose runtime schemas
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
