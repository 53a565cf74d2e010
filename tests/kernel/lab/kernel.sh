# shellcheck shell=bash
# The guest's kernel: a Debian package that is downloaded and unpacked, never installed, kept by version.

# What the guest loads at boot, where the kernel has not built it in (6.12 has virtio_pci, 6.1 has not).
lab_modules=(virtio_pci virtio_net 9p 9pnet_virtio)

# lab_kernel_package: the package and version to boot, as "linux-image-6.12.117+deb12-amd64 6.12.117-1~deb12u1".
lab_kernel_package() {
  local meta package version
  case ${PODFENCE_LAB_KERNEL:-6.12} in
    6.12) meta=linux-image-6.12-amd64 ;;
    6.1) meta=linux-image-amd64 ;;
    *) fail "PODFENCE_LAB_KERNEL=$PODFENCE_LAB_KERNEL is neither 6.12 nor 6.1" ;;
  esac
  package=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
  [[ -n $package ]] || return 0
  version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
  printf '%s %s' "$package" "$version"
}

# lab_modules_key: changes with the list of modules, which a kernel in the cache was unpacked for.
lab_modules_key() { printf '%s\n' "${lab_modules[@]}" | cksum | cut -d ' ' -f 1; }

# lab_kernel: makes sure that the kernel is in the cache and prints its folder, which holds vmlinuz and base.cpio.
lab_kernel() {
  local found package version folder
  need apt-cache
  found=$(lab_kernel_package)
  if [[ -z $found ]]; then
    # The package lists may be gone (a slim image): any kernel of the wanted series that is here already will do.
    folder=$(find "$lab_cache" -maxdepth 1 -name "linux-image-${PODFENCE_LAB_KERNEL:-6.12}.*_$(lab_modules_key)" \
      2>/dev/null | sort -V | tail -n 1)
    [[ -n $folder ]] || fail "apt knows no Debian kernel ${PODFENCE_LAB_KERNEL:-6.12} for amd64; run \`apt-get update\`" \
      "on Debian 12 with its security archive"
  else
    read -r package version <<<"$found"
    folder=$lab_cache/${package}_${version//[:~]/_}_$(lab_modules_key)
    [[ -e $folder/vmlinuz ]] || lab_kernel_download "$package" "$version" "$folder"
  fi
  lab_kernel_base "$folder"
  printf '%s' "$folder"
}

# lab_kernel_download PACKAGE VERSION FOLDER: apt checks the sum; the folder appears in one step, whole or not at all.
lab_kernel_download() {
  local package=$1 version=$2 folder=$3 start work
  need apt-get dpkg
  start=$(now)
  mkdir -p "$lab_cache"
  work=$(mktemp -d "$lab_cache/download.XXXXXX")
  # shellcheck disable=SC2064 # this folder, not a later one
  trap "rm -rf '$work'" EXIT
  say "downloading $package $version (about 100 MB) …"
  (cd "$work" && apt-get download -q=2 -o APT::Sandbox::User=root "$package=$version" >&2) ||
    fail "apt-get download $package=$version failed; \`apt-get update\` may help"
  dpkg -x "$work"/*.deb "$work/tree"
  mkdir "$work/kernel"
  mv "$work"/tree/boot/vmlinuz-* "$work/kernel/vmlinuz"
  lab_kernel_modules "$work/tree" "$work/kernel"
  # Another run may have been quicker: its folder is as good.
  mv -T "$work/kernel" "$folder" 2>/dev/null || [[ -e $folder/vmlinuz ]] || fail "cannot create $folder"
  rm -rf "$work"
  trap - EXIT
  say "kernel $version ready ($(since "$start") s)"
}

# lab_kernel_modules TREE OUT: the modules of lab_modules with all they depend on, decompressed, and their modules.dep.
lab_kernel_modules() {
  local tree=$1 out=$2 release module file
  local path=$PATH:/usr/sbin:/sbin
  need depmod modprobe xz
  release=$(basename "$tree"/lib/modules/*)
  PATH=$path depmod -b "$tree" "$release"
  mkdir -p "$out/modules/lib/modules/$release"
  for module in "${lab_modules[@]}"; do
    PATH=$path modprobe -d "$tree" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p'
  done | sort -u | while read -r file; do
    case $file in
      *.xz) xz -dc "$file" >"$out/modules/lib/modules/$release/$(basename "${file%.xz}")" ;;
      *) cp "$file" "$out/modules/lib/modules/$release/" ;;
    esac
  done
  cp "$tree/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$out/modules/lib/modules/$release/"
  PATH=$path depmod -b "$out/modules" "$release"
}

# lab_kernel_base FOLDER: the part of the initramfs that never changes, busybox and modules, made once.
lab_kernel_base() {
  local folder=$1 busybox work applet
  busybox=$(type -P busybox) || fail "busybox is not installed; \`make install-deps\` installs everything"
  need cpio
  [[ $folder/base.cpio -nt $busybox ]] && return 0
  work=$(mktemp -d "$lab_cache/base.XXXXXX")
  cp -r "$folder/modules/lib" "$work/lib"
  mkdir -p "$work"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,tmp,run,root,etc,var/lib,results}
  cp "$busybox" "$work/bin/busybox"
  for applet in $("$busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$work/bin/$applet"
  done
  # Paths that programs and scripts of the host name.
  ln -s ../../bin/env "$work/usr/bin/env"
  ln -s ../bin/modprobe "$work/sbin/modprobe"
  printf 'root:x:0:0:root:/root:/bin/sh\n' >"$work/etc/passwd"
  printf 'root:x:0:\n' >"$work/etc/group"
  printf '127.0.0.1 localhost lab\n' >"$work/etc/hosts"
  lab_pack "$work" "$folder/base.cpio"
  rm -rf "$work"
}

lab_fetch() {
  local folder
  need qemu-system-x86_64
  [[ $(uname -m) == x86_64 ]] || say "this is $(uname -m): the guest is amd64, and the programs must be built for it"
  folder=$(lab_kernel)
  say "kernel in $folder"
}
