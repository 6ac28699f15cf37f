#!/usr/bin/env bash
# Passes all tests; installs what they need: ONNX Runtime, PyTorch and others from PyPI into .venv, a browser from Debian.
set -euo pipefail
cd "$(dirname "$0")"

venv=.venv
if ! [ -x "$venv/bin/pip" ]; then
    if ! python3 -m venv "$venv"; then
        # Debian splits venv off from Python.
        echo "test.sh: installing python3-venv" >&2
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$venv"
    fi
fi
pip() { "$venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --requirement tests/requirements.txt
# The tests find ONNX Runtime as users do: in the active Python environment.
export VIRTUAL_ENV="$PWD/$venv" PATH="$PWD/$venv/bin:$PATH"
unset ORT_DYLIB_PATH CONDA_PREFIX

cargo fmt --check
cargo clippy --locked --all-targets -- --deny warnings
RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --quiet
cargo test --locked "$@"

# What pages, service files and clients are tested with, from Debian.
packages=()
for tool in chromium promtool:prometheus systemd-analyze:systemd node:nodejs; do
    command -v "${tool%:*}" >/dev/null || packages+=("${tool#*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    echo "test.sh: installing ${packages[*]}" >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# The Python package, with the command as it was just built.
pip install --requirement hooks/tests/requirements.txt
MATURIN_PEP517_ARGS="--profile dev" pip install --force-reinstall --no-deps ./hooks
ruff check .
ruff format --check .
mypy --config-file hooks/pyproject.toml hooks
# A file's tests share what they prepare.
python -m pytest --quiet --numprocesses 2 --dist loadfile hooks/tests
