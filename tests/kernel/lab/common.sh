# shellcheck shell=bash
# Messages, the cache folder and what must be there, for all of scripts/lab.

lab_cache=${XDG_CACHE_HOME:-$HOME/.cache}/podfence

# say TEXT: a line of progress. It goes to standard error, and to the file PODFENCE_PROGRESS where that is set, so that
# `make test` can show it while ctest holds the output back.
say() {
  printf 'lab: %s\n' "$*" >&2
  if [[ -n ${PODFENCE_PROGRESS:-} ]]; then printf 'lab: %s\n' "$*" >>"$PODFENCE_PROGRESS"; fi
}

fail() {
  say "$*"
  exit 1
}

# now: milliseconds.
now() { printf '%s' $((${EPOCHREALTIME/[.,]/} / 1000)); }

# since START: the seconds since START with one digit, "9.8".
since() {
  local ms=$(($(now) - $1))
  printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# need PROGRAM…: fails when one is not installed, saying what installs it.
need() {
  local program
  for program in "$@"; do
    type -P "$program" >/dev/null ||
      PATH=$PATH:/usr/sbin:/sbin type -P "$program" >/dev/null ||
      fail "$program is not installed; \`make install-deps\` installs everything"
  done
}
