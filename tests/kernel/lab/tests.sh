# shellcheck shell=bash
# Many test programs in one boot. `tests` boots and keeps what each program said; `report` tells it to ctest.

# A test program that takes longer than this hangs; the others still run.
lab_program_timeout=${PODFENCE_LAB_TEST_TIMEOUT:-1800}

# The guest's job: runs each program by itself, on a node that is as empty as at boot.
lab_tests_job() {
  cat <<END
limit=$lab_program_timeout
END
  cat <<'END'
# The watch sleeps once: a timer that looks every second would be a host process in what is measured.
one() {
  "$1" >"/results/$1.log" 2>&1 &
  program=$!
  { sleep "$limit" && touch /run/late && kill -KILL "$program"; } &
  watch=$!
  wait "$program"
  code=$?
  kill "$watch" 2>/dev/null
  wait "$watch" 2>/dev/null
  if [ -e /run/late ]; then
    rm /run/late
    echo "lab: $1 did not end within $limit s and was killed" >>"/results/$1.log"
  fi
  tidy "/results/$1.log"
  echo "$code" >"/results/$1.status.new"
  mv "/results/$1.status.new" "/results/$1.status"
}

# What a program leaves behind must not meet the next one, and is told in its log.
# Ours is init.scope, or where the guest has systemd a unit below its system.slice.
tidy() {
  ours=/sys/fs/cgroup$(cut -d : -f 3 /proc/self/cgroup)
  for folder in $(find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name init.scope ! -name system.slice); do
    echo "lab: left behind: cgroup $folder" >>"$1"
    echo 1 >"$folder/cgroup.kill"
  done
  for process in $(cat "$ours/cgroup.procs"); do
    # Ourselves, what has ended meanwhile, and the watch's sleep, which outlives it.
    case $process:$(cat "/proc/$process/comm" 2>/dev/null) in
      1:* | $$:* | *: | *:sleep) ;;
      *) echo "lab: left behind: process $process $(cat "/proc/$process/comm" 2>/dev/null)" >>"$1" ;;
    esac
    [ "$process" = 1 ] || [ "$process" = $$ ] || kill -KILL "$process" 2>/dev/null
  done
  for try in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup -mindepth 1 -depth -type d ! -name init.scope ! -path '*/system.slice*' -exec rmdir {} + 2>/dev/null && break
    usleep 100000
  done
}
END
  local program
  for program in "$@"; do printf 'one %s\n' "$(basename "$program")"; done
}

lab_told= # the programs whose result was already told

# lab_tell: says how the programs that ended since the last call did, and why tests in them were skipped.
lab_tell() {
  local file name code
  for file in "$lab_results"/*.status; do
    [[ -e $file ]] || continue
    name=$(basename "$file" .status)
    [[ " $lab_told " == *" $name "* ]] && continue
    lab_told+=" $name"
    code=$(<"$file")
    if ((code != 0)); then
      say "$name FAILED (exit code $code)"
    else
      say "$name passed"
    fi
    lab_skips "$lab_results/$name.log" | while read -r line; do say "  skipped: $line"; done
  done
}

# lab_skips LOG: "Suite.Case: reason" of each skipped test.
lab_skips() {
  awk -f "$here/tests/skips.awk" "$1"
}

lab_tests() {
  [[ $# -ge 3 ]] || fail "usage: scripts/lab tests SHAPE RESULTS PROGRAM…"
  local shape=$1 results=$2 program
  shift 2
  lab_begin
  lab_fresh "$results"
  lab_add_config
  local built=()
  for program in "$@"; do
    # One that is not built fails by itself, in its report; the others run.
    if [[ ! -x $program ]]; then
      say "$(basename "$program") is not built"
      echo "$program is not built" >"$lab_results/$(basename "$program").log"
      continue
    fi
    lab_add_program "$lab_work/layer" "$program"
    built+=("$program")
  done
  # What the agent's own tests drive: the agent itself, beside the tests.
  if [[ -x $(dirname "$1")/podfence ]]; then lab_add_program "$lab_work/layer" "$(dirname "$1")/podfence"; fi
  lab_add_more
  local boot code waiting=("${built[@]}")
  for boot in 1 2 3; do
    lab_tests_job "${waiting[@]}" | lab_job
    say "booting '$shape' for ${#waiting[@]} test program(s) …"
    lab_start "$shape"
    code=0
    lab_wait "$shape" $((120 + ${#waiting[@]} * (lab_program_timeout + 10))) lab_tell || code=$?
    ((code != 0 && boot < 3)) && grep -qa 'Kernel panic' "$lab_results/console.log" || return "$code"
    # Attaching a probe patches code that other CPUs may be running, which the software emulation of many CPUs gets
    # wrong now and then (as lab_await_up says of booting). A panic of our own making comes again, and fails.
    mv "$lab_results/console.log" "$lab_results/console.panic-$boot.log"
    rm -f "$lab_results/.up"
    waiting=()
    for program in "${built[@]}"; do
      [[ -e $lab_results/$(basename "$program").status ]] || waiting+=("$program")
    done
    say "the guest's kernel panicked (console.panic-$boot.log); once more for what had not ended: ${waiting[*]##*/}"
  done
}

# lab_report RESULTS NAME: a result is told once, so that one of an earlier run never counts again. The file .skipped
# says why nothing was run at all.
lab_report() {
  [[ $# -eq 2 ]] || fail "usage: scripts/lab report RESULTS NAME"
  local results=$1 name=$2 code skipped
  if [[ -e $results/.skipped ]]; then
    say "$name was skipped: $(<"$results/.skipped")"
    exit 77
  fi
  [[ -e $results/$name.log ]] && cat "$results/$name.log"
  if [[ ! -e $results/$name.status ]]; then
    fail "$name has no result of this run: the guest ended before it, or its result was already reported"
  fi
  code=$(<"$results/$name.status")
  mv "$results/$name.status" "$results/$name.reported"
  if ((code != 0)); then fail "$name failed in the guest with exit code $code"; fi
  skipped=$(lab_skips "$results/$name.log")
  if [[ -n $skipped ]]; then
    say "tests of $name were skipped:"$'\n'"$skipped"
    exit 77
  fi
}
