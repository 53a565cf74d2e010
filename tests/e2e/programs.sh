# shellcheck shell=bash
# The programs of a Kubernetes node, built from their modules and kept by version.

E2E_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/podfence
E2E_GO=1.26

# e2e_have_go: whether this machine's Go can build them; says what is missing.
e2e_have_go() {
  local version
  version=$(go env GOVERSION 2>/dev/null) || version=
  [[ $version == go* && $(printf '%s\n' "$E2E_GO" "${version#go}" | sort -V | head -n 1) == "$E2E_GO" ]] && return 0
  echo "a real Kubernetes node is built from its modules, which needs Go $E2E_GO or newer; here is ${version:-none}" >&2
  return 1
}

# e2e_build MODULE VERSION-PACKAGE PACKAGE…: builds the packages of tests/e2e/MODULE once for each version and prints
# the folder that they are in.
e2e_build() {
  local module=$1 pinned=$2 here version folder name
  shift 2
  here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/$module
  version=$(cd "$here" && go list -m -f '{{.Version}}' "$pinned") || return 1
  folder=$E2E_CACHE/$module-$version
  mkdir -p "$folder"
  for package; do
    name=${package##*/}
    [[ -x $folder/$name ]] && continue
    echo "e2e: building $name $version (once, minutes) …" >&2
    # What is not stripped does not fit the guest's memory beside everything else.
    (cd "$here" && CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags '-s -w' -o "$folder/$name.part" "$package") >&2 ||
      return 1
    mv "$folder/$name.part" "$folder/$name"
  done
  echo "$folder"
}

e2e_node_programs() {
  e2e_build containerd github.com/containerd/containerd/v2 \
    github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
  e2e_build kubernetes k8s.io/kubernetes k8s.io/kubernetes/cmd/kubelet
}
