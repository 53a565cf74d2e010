# shellcheck shell=bash
# The initramfs of one run: the cached base and a layer with the run's own programs. The kernel unpacks concatenated
# archives one after the other, so the base is never packed again.

# lab_pack FOLDER ARCHIVE: a cpio archive of FOLDER, owned by root, written in one step.
lab_pack() {
  (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --owner=0:0 --quiet) >"$2.$$"
  mv "$2.$$" "$2"
}

# lab_add_program FOLDER PROGRAM: PROGRAM without its debug information in /usr/bin of the layer, and the shared
# libraries it needs at the paths where the loader looks for them.
lab_add_program() {
  local folder=$1 program=$2 library
  [[ -x $program && -f $program ]] || fail "$program is not a program; build it first"
  mkdir -p "$folder/usr/bin"
  if [[ $(head -c 4 "$program" | tr -d '\0') == $'\x7fELF' ]]; then
    strip --strip-debug -o "$folder/usr/bin/$(basename "$program")" "$program"
    # Lines of ldd: "libx.so.1 => /lib/libx.so.1 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", "libx.so.1 => not found".
    # One that is linked statically has none, which ldd takes for a failure.
    { ldd "$program" 2>/dev/null || true; } | sed -nE 's/.*=> (not found|\/[^ ]*).*/\1/p; s/^\s*(\/[^ ]*) .*/\1/p' | sort -u |
      while read -r library; do
        [[ $library != "not found" ]] || fail "$program needs a shared library that is not found (ldd $program)"
        [[ -e $folder$library ]] || install -D "$library" "$folder$library"
      done
  else
    cp "$program" "$folder/usr/bin/"
  fi
}

# lab_image LAYER BASE IMAGE: one initramfs of the base and the layer, with the guest's init.
lab_image() {
  local layer=$1 base=$2 image=$3
  install -m 755 "$here/tests/kernel/lab/init" "$layer/init"
  lab_pack "$layer" "$layer.cpio"
  cat "$base" "$layer.cpio" >"$image"
  rm -f "$layer.cpio"
}
