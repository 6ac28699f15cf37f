#!/usr/bin/env bash
# Passes all tests; installs what they need: ONNX Runtime, PyTorch and others from PyPI into .venv, a browser from Debian.
# With --all first: also those that need giants (Ray, TensorFlow, Aim) or an environment of their own (Trackio). Other arguments are those of `cargo test`.
set -euo pipefail
cd "$(dirname "$0")"
all=
if [ "${1:-}" = --all ]; then
    all=-all
    shift
fi

# The last lines say what took how long.
took=()
step() {
    local name=$1 began=$SECONDS
    shift
    "$@"
    took+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
}
trap 'kill "${fetching:-}" 2>/dev/null || true; printf "%s\n" "${took[@]}"; printf "%5d s  in all\n" "$SECONDS"' EXIT

venv=.venv
pip() { "$venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
make_environment() {
    [ -x "$venv/bin/pip" ] && return
    if ! python3 -m venv "$venv"; then
        # Debian splits venv off from Python.
        echo "test.sh: installing python3-venv" >&2
        apt-get update -qq && apt-get install -y -qq python3-venv
        python3 -m venv "$venv"
    fi
}
# What pages, service files and clients are tested with, from Debian.
install_tools() {
    local packages=() tool
    for tool in chromium promtool:prometheus systemd-analyze:systemd node:nodejs npm; do
        command -v "${tool%:*}" >/dev/null || packages+=("${tool#*:}")
    done
    [ ${#packages[@]} -eq 0 ] && return
    echo "test.sh: installing ${packages[*]}" >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}
# Downloads beside compiling: the compiler leaves one of two cores idle for minutes.
fetch() {
    install_tools
    pip install --requirement "hooks/tests/requirements$all.txt"
    # It asks for an older Pillow than the others.
    if [ -n "$all" ]; then
        python3 -m venv "$venv/trackio"
        "$venv/trackio/bin/pip" --quiet --disable-pip-version-check install --requirement hooks/tests/requirements-trackio.txt
    fi
}
make_environment
fetch &
fetching=$!

# The tests find ONNX Runtime as users do: in the active Python environment.
export VIRTUAL_ENV="$PWD/$venv" PATH="$PWD/$venv/bin:$PATH"
unset ORT_DYLIB_PATH CONDA_PREFIX

# Lints are found while the tests are compiled: once for both, and for the wheel.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS="--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"
lint_python() {
    ruff check .
    ruff format --check .
    # Without Ray, what imports it cannot be typed.
    local untyped=(--exclude 'relstab/(ray|tune)|tests/all')
    [ -z "$all" ] || untyped=()
    # JAX needs Python 3.11; the types of what is not there are unknown.
    python -c 'import jax' 2>/dev/null ||
        untyped+=(--ignore-missing-imports --allow-subclassing-any --allow-untyped-decorators --no-warn-unused-ignores)
    mypy --config-file hooks/pyproject.toml "${untyped[@]}" hooks
}

step "format" cargo fmt --check
# The features of the wheel. Benches are only linted.
features=(--features "parquet stores tls")
step "lints, and compiling the tests" cargo test --locked "${features[@]}" --no-run --all-targets --quiet
step "documentation" env RUSTDOCFLAGS="--deny warnings" cargo doc --locked "${features[@]}" --no-deps --quiet
step "waiting for Python packages and tools" wait "$fetching"
step "Python lints and types" lint_python
step "Rust tests" cargo test --locked "${features[@]}" "$@"

# The Python package, with the command as it was just built.
step "wheel" env MATURIN_PEP517_ARGS="--profile dev" "$venv/bin/pip" --quiet install --force-reinstall --no-deps ./hooks
# A file's tests share what they prepare.
step "Python tests" python -m pytest --quiet --numprocesses 2 --dist loadfile --ignore hooks/tests/all hooks/tests
if [ -n "$all" ]; then
    # One after another: each has a cluster.
    step "Python tests with giants" python -m pytest --quiet hooks/tests/all
fi
