# To be sourced by tests that are scripts.
# shellcheck shell=bash

# skip REASON: leaves as ctest counts a skip, and lets the follower of `make test` show why.
skip() {
  printf '%s was skipped: %s\n' "${0##*/}" "$*" | tee -a "${PODFENCE_PROGRESS:-/dev/null}"
  exit 77
}
