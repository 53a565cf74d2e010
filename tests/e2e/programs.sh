# shellcheck shell=bash
# The programs of a Kubernetes node, built from their Go modules and kept by version: what is in the cache is whole.

e2e=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/kernel/lab/common.sh
source "$e2e/../kernel/lab/common.sh"

e2e_go=1.26 # the oldest Go that builds them, by their go.mod

# shellcheck disable=SC2034 # for who sources this
e2e_node=(kubernetes:k8s.io/kubernetes/cmd/kubelet)
# shellcheck disable=SC2034 # for who sources this
e2e_containerd=(
  containerd:github.com/containerd/containerd/v2/cmd/containerd
  containerd:github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
  containerd:github.com/containerd/containerd/v2/cmd/ctr
)
# shellcheck disable=SC2034 # for who sources this
e2e_crio=(
  crio:github.com/cri-o/cri-o/cmd/crio
  crio:github.com/cri-o/cri-o/pinns
)
# shellcheck disable=SC2034 # for who sources this
e2e_control=(
  kubernetes:k8s.io/kubernetes/cmd/kube-apiserver
  kubernetes:k8s.io/kubernetes/cmd/kube-controller-manager
  kubernetes:k8s.io/kubernetes/cmd/kube-scheduler
)

# e2e_version MODULE: the version of Kubernetes, containerd or CRI-O in its go.mod, as v1.37.2.
e2e_version() {
  sed -nE 's,^(require)?\s*(k8s\.io/kubernetes|github\.com/containerd/containerd/v2|github\.com/cri-o/cri-o) (v[^ ]+).*,\3,p' \
    "$e2e/$1/go.mod"
}

# e2e_folder MODULE: where its programs are kept.
e2e_folder() { printf '%s/%s-%s' "$lab_cache" "$1" "$(e2e_version "$1")"; }

# e2e_no_go: why this machine cannot build them; nothing where it can.
e2e_no_go() {
  local version
  type -P go >/dev/null || {
    echo "the kubelet and its runtime are built from their modules: that needs Go $e2e_go or newer (https://go.dev/dl)"
    return
  }
  version=$(go env GOVERSION)
  printf '%s\n' "$e2e_go" "${version#go}" | sort -V -C ||
    echo "the kubelet and its runtime need Go $e2e_go or newer (https://go.dev/dl), this is ${version#go}"
}

# e2e_missing MODULE:PACKAGE…: those that are not in the cache.
e2e_missing() {
  local each package
  for each; do
    package=${each#*:}
    [[ -x $(e2e_folder "${each%%:*}")/${package##*/} ]] || echo "$each"
  done
}

# e2e_stamp MODULE: the linker's flags that make a program tell the version that its release tells.
e2e_stamp() {
  local version minor
  version=$(e2e_version "$1")
  minor=${version#v*.}
  case $1 in
    kubernetes)
      printf -- '-X k8s.io/component-base/version.%s ' "gitVersion=$version" "gitMajor=1" "gitMinor=${minor%%.*}"
      ;;
    containerd) printf -- '-X github.com/containerd/containerd/v2/version.Version=%s' "$version" ;;
  esac
}

# What CRI-O would link of C libraries: other drivers of its storage, signatures, seccomp's filters.
e2e_crio_tags=containers_image_ostree_stub,containers_image_openpgp,exclude_graphdriver_btrfs,btrfs_noversion

# e2e_compile MODULE PACKAGE PROGRAM: static and stripped, since it goes into the guest's memory.
e2e_compile() {
  local tags='' source
  case $1:$2 in
    *:*/pinns) # the only one in C
      source=$(go -C "$e2e/$1" list -mod=readonly -m -f '{{.Dir}}' "${2%/pinns}")
      cc -std=c99 -Os -static -s -o "$3" "$source"/pinns/src/*.c
      return
      ;;
    crio:*) tags=$e2e_crio_tags ;;
  esac
  CGO_ENABLED=0 GOTOOLCHAIN=local nice -n 10 go -C "$e2e/$1" build -p "${JOBS:-$(nproc)}" -trimpath -buildvcs=false \
    -mod=readonly -tags "$tags" -ldflags "-s -w $(e2e_stamp "$1")" -o "$3" "$2" >&2
}

# e2e_build MODULE:PACKAGE…: builds what is missing. Two runs at once do not disturb each other.
e2e_build() {
  local each module name folder work start
  for each in $(e2e_missing "$@"); do
    module=${each%%:*} name=${each##*/}
    folder=$(e2e_folder "$module")
    start=$(now)
    say "building $name $(e2e_version "$module"), once; this takes minutes …"
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/build.XXXXXX")
    if ! e2e_compile "$module" "${each#*:}" "$work/$name"; then
      rm -rf "$work"
      fail "$name was not built: building ${each#*:} failed in tests/e2e/$module"
    fi
    mv "$work/$name" "$folder/$name"
    rm -rf "$work"
    say "$name is built ($(since "$start") s)"
  done
}
