# shellcheck shell=bash
# One boot of the guest: QEMU's arguments, waiting for its end, and the subcommands that boot.

# lab_shape SHAPE: QEMU's arguments of that machine, one a line. reserve=off: memory counts once the guest touches it.
lab_shape() {
  local cpus smp node
  case $1 in
    node) cpus=24 smp=24,sockets=2,cores=6,threads=2 node=24 ;;
    small) cpus=8 smp=8,sockets=2,cores=2,threads=2 node=2 ;;
    *) fail "no shape '$1': node or small" ;;
  esac
  printf '%s\n' -smp "$smp" -m $((2 * node))G \
    -object memory-backend-ram,id=m0,size=${node}G,reserve=off \
    -object memory-backend-ram,id=m1,size=${node}G,reserve=off \
    -numa node,nodeid=0,memdev=m0,cpus=0-$((cpus / 2 - 1)) \
    -numa node,nodeid=1,memdev=m1,cpus=$((cpus / 2))-$((cpus - 1)) \
    -numa dist,src=0,dst=1,val=21
}

# lab_clock: QEMU's arguments of the guest's clock, one a line. With `instructions` it counts those that the guest
# executes, each as 1 ns, one CPU at a time: what is measured no longer waits for this machine's CPUs.
lab_clock() {
  case ${PODFENCE_LAB_CLOCK:-time} in
    time) printf '%s\n' -accel tcg,thread=multi ;;
    instructions) printf '%s\n' -accel tcg,thread=single -icount shift=0,sleep=off ;;
    *) fail "PODFENCE_LAB_CLOCK=$PODFENCE_LAB_CLOCK is neither time nor instructions" ;;
  esac
}

lab_work=    # this run's folder: job, layer, image, console.log; removed at the end
lab_results= # the host's side of the guest's /results
lab_qemu=    # QEMU's process id
lab_tail=    # the process that shows a program's output
lab_forwards=()

# lab_begin: the work folder, and the promise that nothing of this run stays, whatever ends it.
lab_begin() {
  need qemu-system-x86_64 cpio strip setpriv
  local folder owner
  # Of runs that were killed outright: the folder's name says whose it is.
  for folder in "${TMPDIR:-/tmp}"/podfence-lab.*; do
    owner=${folder##*/podfence-lab.}
    [[ ! -d $folder || -d /proc/${owner%%.*} ]] || rm -rf "$folder"
  done
  lab_work=$(mktemp -d "${TMPDIR:-/tmp}/podfence-lab.$$.XXXXXX")
  mkdir -p "$lab_work/layer/lab"
  trap lab_end EXIT
  trap 'say "ended"; exit 130' INT
  trap 'exit 143' TERM
}

lab_end() {
  local pid
  for pid in $lab_tail $lab_qemu; do
    if kill -KILL "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
  done
  if [[ -n $lab_work ]]; then rm -rf "$lab_work"; fi
}

# lab_start SHAPE [console]: boots. With "console" the guest's /dev/hvc0 is this terminal.
lab_start() {
  local shape=$1 console=${2:-} kernel clock arguments forward network
  kernel=$(lab_kernel)
  clock=$(lab_clock)
  mapfile -t arguments < <(lab_shape "$shape" && printf '%s\n' "$clock")
  lab_image "$lab_work/layer" "$kernel/base.cpio" "$lab_work/image"
  # restrict=on: the guest reaches neither the host nor the world; only the named ports lead into it, or out of it.
  network=user,id=net,restrict=on
  for forward in "${lab_forwards[@]}"; do network+=",hostfwd=tcp:127.0.0.1:${forward%%:*}-10.0.2.15:${forward#*:}"; done
  # Further ways that a caller of scripts/lab opens, as QEMU's -netdev has them.
  network+=${PODFENCE_LAB_NETWORK:+,$PODFENCE_LAB_NETWORK}
  # shellcheck disable=SC2054 # the commas are QEMU's
  arguments+=(-nodefaults -no-user-config -no-reboot -vga none -display none
    -machine q35 -cpu Nehalem
    -kernel "$kernel/vmlinuz" -initrd "$lab_work/image"
    # nokaslr and no mitigations: quick and the same every time. panic=1 with -no-reboot: a panic ends QEMU.
    # tsc=reliable: without it the kernel patches sched_clock's code once it has run for a while, see lab_await_up.
    -append "console=ttyS0 quiet loglevel=4 mitigations=off nokaslr audit=0 numa_balancing=disable tsc=reliable panic=1 oops=panic"
    -serial "file:$lab_results/console.log"
    -fsdev "local,id=results,path=$lab_results,security_model=none"
    -device virtio-9p-pci,fsdev=results,mount_tag=results
    -netdev "$network" -device virtio-net-pci,netdev=net,romfile=)
  if [[ $console == console ]]; then
    # shellcheck disable=SC2054
    arguments+=(-device virtio-serial-pci -device virtconsole,chardev=tty -chardev stdio,id=tty,mux=on,signal=off
      -mon chardev=tty,mode=readline)
    setpriv --pdeathsig KILL qemu-system-x86_64 "${arguments[@]}"
    return
  fi
  local try
  for try in 1 2 3; do
    # Ends with this script even when that is killed.
    setpriv --pdeathsig KILL qemu-system-x86_64 "${arguments[@]}" </dev/null >"$lab_work/qemu.log" 2>&1 &
    lab_qemu=$!
    if lab_await_up "$shape" || ((try == 3)); then return; fi
    say "the guest's kernel panicked while it booted; once more"
  done
}

# lab_await_up SHAPE: waits until the guest's init runs, at most 5 minutes. Fails only where its kernel panicked before
# that: while it boots, the kernel patches code that other CPUs may be running, which the software emulation of many
# CPUs gets wrong now and then. Whatever else went wrong is for lab_wait to say.
lab_await_up() {
  local shape=$1 start
  start=$(now)
  while kill -0 "$lab_qemu" 2>/dev/null && (($(now) - start < 300000)); do
    if [[ -e $lab_results/.up ]]; then
      say "guest '$shape' is up ($(since "$start") s)"
      return
    fi
    sleep 0.2
  done
  ! grep -qa 'Kernel panic' "$lab_results/console.log"
}

# lab_wait SHAPE TIMEOUT [EACH]: waits until the guest has powered off, at most TIMEOUT seconds (0: for ever); calls EACH
# five times a second. Fails, with what the console said last, when the guest hung, panicked or never came up.
lab_wait() {
  local shape=$1 timeout=$2 each=${3:-:} start
  start=$(now)
  while kill -0 "$lab_qemu" 2>/dev/null; do
    "$each"
    if ((timeout > 0 && $(now) - start > timeout * 1000)); then
      lab_console "the guest '$shape' did not end within $timeout s"
      return 1
    fi
    sleep 0.2
  done
  local code=0
  wait "$lab_qemu" || code=$?
  lab_qemu=
  "$each"
  if ((code != 0)); then
    cat "$lab_work/qemu.log" >&2
    say "qemu-system-x86_64 failed with exit code $code"
    return 1
  fi
  if [[ ! -e $lab_results/.done ]]; then
    if grep -qa 'Kernel panic' "$lab_results/console.log"; then
      lab_console "the guest's kernel panicked"
    else
      lab_console "the guest ended before its job did"
    fi
    return 1
  fi
  say "guest '$shape' powered off ($(since "$start") s in all)"
}

lab_console() {
  say "$1; the last lines of its console:"
  tail -n 30 "$lab_results/console.log" 2>/dev/null | tr -d '\r' | sed 's/^/  | /' >&2
}

# lab_job: writes the shell script that the guest runs; what is read from standard input becomes its body.
lab_job() {
  {
    cat
    echo 'touch /results/.done'
  } >"$lab_work/layer/lab/job"
}

# lab_fresh FOLDER: an empty results folder, so that nothing in it can be of an earlier run.
lab_fresh() {
  mkdir -p "$1"
  find "$1" -mindepth 1 -delete
  lab_results=$(cd -- "$1" && pwd)
}

lab_shell() {
  local shape=${1:-node} file
  [[ $# -gt 0 ]] && shift
  [[ -t 0 && -t 1 ]] || fail "a shell needs a terminal; \`scripts/lab run\` runs one program without one"
  lab_begin
  lab_fresh "$lab_work/results"
  for file in "$@"; do lab_add_program "$lab_work/layer" "$file"; done
  lab_add_config
  lab_job <<END
stty rows $(tput lines) cols $(tput cols) </dev/hvc0
export TERM=${TERM@Q} PS1='lab:\w# '
setsid -c sh </dev/hvc0 >/dev/hvc0 2>&1
END
  say "booting '$shape'; \`exit\` powers off, Ctrl-A X ends it at once; programs: ${*##*/}"
  lab_start "$shape" console
}

# lab_add_config: the configuration and examples, in the guest's /etc/podfence.
lab_add_config() {
  mkdir -p "$lab_work/layer/etc"
  cp -rL "$here/config" "$lab_work/layer/etc/podfence"
}

# lab_add_more: what a caller of scripts/lab adds to every guest: the folder PODFENCE_LAB_LAYER to its root, and the
# programs PODFENCE_LAB_WITH.
lab_add_more() {
  local program
  if [[ -n ${PODFENCE_LAB_LAYER:-} ]]; then cp -a "$PODFENCE_LAB_LAYER/." "$lab_work/layer/"; fi
  for program in ${PODFENCE_LAB_WITH:-}; do lab_add_program "$lab_work/layer" "$program"; done
}

lab_run() {
  local timeout=300 results='' files=() with=() file
  while [[ $# -gt 0 && $1 == --* ]]; do
    [[ $# -ge 2 ]] || fail "$1 needs a value"
    case $1 in
      --file) files+=("$2") ;;
      --with) with+=("$2") ;;
      --forward) lab_forwards+=("$2") ;;
      --timeout) timeout=$2 ;;
      --results) results=$2 ;;
      *) fail "run has no option $1" ;;
    esac
    shift 2
  done
  [[ $# -ge 3 && $2 == -- ]] || fail "usage: scripts/lab run [OPTION…] SHAPE -- PROGRAM [ARG…]"
  local shape=$1 program=$3
  shift 3
  lab_begin
  lab_fresh "${results:-$lab_work/results}"
  lab_add_config
  for file in "${with[@]}"; do lab_add_program "$lab_work/layer" "$file"; done
  for file in "${files[@]}"; do
    mkdir -p "$(dirname "$lab_work/layer/${file#*:}")"
    cp -rL "${file%%:*}" "$lab_work/layer/${file#*:}"
  done
  lab_add_more
  if [[ $program == */* ]]; then lab_add_program "$lab_work/layer" "$program"; fi
  local words="${program##*/}" word
  for word in "$@"; do words+=" ${word@Q}"; done
  lab_job <<END
$words >/results/.output 2>&1
echo \$? >/results/.status
END
  touch "$lab_results/.output"
  lab_start "$shape"
  tail -n +1 -f -s 0.1 --pid="$lab_qemu" "$lab_results/.output" &
  lab_tail=$!
  lab_wait "$shape" "$timeout" || exit 1
  wait "$lab_tail" || true
  lab_tail=
  exit "$(cat "$lab_results/.status")"
}
