#!/bin/bash
# image.sh BUSYBOX ARCHIVE: an OCI archive with one image under two names, made without a registry: busybox, which
# sleeps as a pod's sandbox and runs what a container's command says.
set -euo pipefail

busybox=$1 archive=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/layer/bin" "$work/oci/blobs/sha256"
install -m 755 "$busybox" "$work/layer/bin/busybox"
for name in sh sleep yes cat dd grep; do ln -s busybox "$work/layer/bin/$name"; done

# put FILE: keeps it by its digest and prints that.
put() {
  local digest
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  mv "$1" "$work/oci/blobs/sha256/$digest"
  echo "$digest"
}
size() { stat -c %s "$work/oci/blobs/sha256/$1"; }

tar -C "$work/layer" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$work/layer.tar" .
layer=$(put "$work/layer.tar")
cat >"$work/config" <<END
{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/sleep"],"Cmd":["1000000"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
config=$(put "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
 "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$(size "$config")},
 "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:$layer","size":$(size "$layer")}]}
END
manifest=$(put "$work/manifest")
entry() {
  printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,' \
    "$manifest" "$(size "$manifest")"
  printf '"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"1"}}' "$1"
}
printf '{"schemaVersion":2,"manifests":[%s,%s]}\n' "$(entry test.local/pause:1)" "$(entry test.local/work:1)" \
  >"$work/oci/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci/oci-layout"
tar -C "$work/oci" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$archive" oci-layout index.json blobs
