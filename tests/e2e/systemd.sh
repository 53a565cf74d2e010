#!/bin/bash
# systemd.sh LAYER: adds systemd and D-Bus of Debian's packages to the guest's root, where they become process 1 and the
# system bus. The packages are unpacked, never installed, and kept by version; nothing else of a distribution starts.
set -euo pipefail

layer=$1
# shellcheck source=tests/kernel/lab/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../kernel/lab/common.sh"

# The programs with every library that they link.
packages=(
  systemd libsystemd-shared libsystemd0 dbus-daemon dbus-bin dbus-system-bus-common libdbus-1-3 libexpat1
  libacl1 libapparmor1 libaudit1 libblkid1 libc6 libcap2 libcap-ng0 libcrypt1 libgcrypt20 libgpg-error0 libip4tc2
  libkmod2 liblz4-1 liblzma5 libmount1 libpam0g libpcre2-8-0 libseccomp2 libselinux1 libssl3 libzstd1
)

# unpacked: the folder of the packages in the versions that apt knows, downloaded where it is not there.
unpacked() {
  local versions folder work archive
  need apt-cache apt-get dpkg
  versions=$(apt-cache policy "${packages[@]}" | sed -n 's/^ *Candidate: //p')
  (($(wc -l <<<"$versions") == ${#packages[@]})) ||
    fail "apt does not know all of ${packages[*]}; run \`apt-get update\` on Debian 12"
  folder=$lab_cache/systemd-$(head -n 1 <<<"$versions" | tr ':~' '__')_$(cksum <<<"$versions" | cut -d ' ' -f 1)
  if [[ ! -d $folder ]]; then
    mkdir -p "$lab_cache"
    work=$(mktemp -d "$lab_cache/download.XXXXXX")
    # shellcheck disable=SC2064 # this folder, not a later one
    trap "rm -rf '$work'" EXIT
    say "downloading systemd and D-Bus (about 12 MB) …"
    (cd "$work" && apt-get download -q=2 -o APT::Sandbox::User=root "${packages[@]}" >&2) ||
      fail "apt-get download ${packages[*]} failed; \`apt-get update\` may help"
    for archive in "$work"/*.deb; do dpkg -x "$archive" "$work/tree"; done
    rm -rf "$work"/tree/usr/share/{doc,man,locale,lintian,bug,bash-completion,zsh}
    mv -T "$work/tree" "$folder" 2>/dev/null || [[ -d $folder ]] || fail "cannot create $folder"
  fi
  printf '%s' "$folder"
}

folder=$(unpacked)
cp -a "$folder/." "$layer/"

# What starts is written here, not what a distribution would start.
units=$layer/etc/systemd/system
rm -rf "$layer/etc/systemd"
mkdir -p "$units" "$layer/etc/dbus-1"
printf '[Manager]\nLogTarget=console\nLogLevel=notice\nDefaultTimeoutStopSec=10s\nShowStatus=no\nDefaultStandardOutput=null\n' \
  >"$layer/etc/systemd/system.conf"
cat >"$units/default.target" <<'END'
[Unit]
Description=The lab guest's job
Requires=dbus.service lab.service
DefaultDependencies=no
END
cat >"$units/dbus.socket" <<'END'
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/dbus/system_bus_socket
END
cat >"$units/dbus.service" <<'END'
[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
END
cat >"$units/lab.service" <<'END'
[Unit]
DefaultDependencies=no
After=dbus.service
[Service]
Type=simple
WorkingDirectory=/root
Environment=HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh /lab/job
ExecStopPost=/bin/sh -c 'sync; poweroff -f'
# It starts runtimes, whose containers stay in slices of their own.
KillMode=process
LimitNOFILE=1048576
TasksMax=infinity
END
mkdir -p "$layer/var"
ln -sfn ../run "$layer/var/run"
# As Debian's adduser and systemd's sysusers would have made them.
printf 'root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/bin/false\n' >"$layer/etc/passwd"
printf 'root:x:0:\nmessagebus:x:100:\n' >"$layer/etc/group"
printf '0123456789abcdef0123456789abcdef\n' >"$layer/etc/machine-id"
