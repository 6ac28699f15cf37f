#!/usr/bin/env bash
# The check of the composite action: MODELS, PROBE, ARGS and JUNIT come from its inputs.
set -euo pipefail
shopt -s nullglob globstar

# Words and patterns are expanded on purpose; nothing is evaluated.
# shellcheck disable=SC2206,SC2153
models=($MODELS) args=($ARGS)
if [ ${#models[@]} -eq 0 ]; then
    echo "::error title=relstab check::no file matches: $MODELS"
    exit 4
fi
if [ -n "$PROBE" ]; then
    args+=(--probe "$PROBE")
fi
relstab check "${models[@]}" "${args[@]}" --junit "$JUNIT"
