# shellcheck shell=bash
# A cluster's control plane on this machine's loopback, where it is quick, for the node in the guest: etcd, the API
# server, controllers and scheduler of Kubernetes, and Prometheus with the project's rules. The guest's network leads to
# it through QEMU, a process for each connection:
#   10.0.2.100:6443  the API server
#   10.0.2.100:6444  kills the API server, which is started again at once as a node's kubelet would
#   10.0.2.100:9090  Prometheus, which scrapes the guest's port 9551

# shellcheck source=tests/e2e/programs.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/programs.sh"

control_address=10.0.2.100 # in the guest's network
control_users=(
  # Who, and the groups that Kubernetes' own roles know (bootstrappolicy).
  "admin system:masters"
  "system:node:lab system:nodes"
  "system:kube-controller-manager"
  "system:kube-scheduler"
)
control=       # the folder of its files
control_pids=()

# control_ports: the first of five neighbouring ports that nobody listens on.
control_ports() {
  local base offset
  while :; do
    base=$((20000 + RANDOM % 12000))
    for offset in {0..4}; do
      (: <"/dev/tcp/127.0.0.1/$((base + offset))") 2>/dev/null && continue 2
    done
    echo "$base"
    return
  done
}

# control_run NAME PROGRAM [ARG…]: in the background; it ends with this script, whatever ends that.
control_run() {
  local name=$1
  shift
  GOMAXPROCS=2 setpriv --pdeathsig KILL "$@" >"$control/$name.log" 2>&1 </dev/null &
  control_pids+=($!)
}

control_end() {
  local pid
  for pid in "${control_pids[@]}"; do
    if kill -KILL "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
  done
  [[ -z $control ]] || rm -rf "$control"
}

# control_await NAME URL: until what was started as NAME answers.
control_await() {
  local start
  start=$(now)
  until curl --silent --fail --max-time 5 --noproxy '*' --cacert "$control/ca.crt" --output /dev/null "$2"; do
    if (($(now) - start > 120000)); then
      tail -n 30 "$control/$1.log" >&2
      fail "$1 did not answer at $2 within 2 minutes; its log ends as above"
    fi
    sleep 0.2
  done
}

# control_secrets: a CA, the API server's certificate, the key of service account tokens, a token for each user.
control_secrets() {
  local user group
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=podfence-e2e-ca \
      -keyout "$control/ca.key" -out "$control/ca.crt"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=kube-apiserver \
      -keyout "$control/api.key" -out "$control/api.csr"
    openssl x509 -req -in "$control/api.csr" -CA "$control/ca.crt" -CAkey "$control/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo "subjectAltName=IP:127.0.0.1,IP:$control_address") -out "$control/api.crt"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$control/accounts.key"
    openssl pkey -in "$control/accounts.key" -pubout -out "$control/accounts.pub"
  } >"$control/openssl.log" 2>&1 || { cat "$control/openssl.log" >&2; fail "openssl could not make the certificates"; }
  for user in "${control_users[@]}"; do
    read -r user group <<<"$user"
    openssl rand -hex 16 | tr -d '\n' >"$control/${user##*:}.token"
    printf '%s,%s,%s,"%s"\n' "$(<"$control/${user##*:}.token")" "$user" "$user" "$group" >>"$control/tokens.csv"
  done
}

# control_kubeconfig USER SERVER: how that user reaches the API server.
control_kubeconfig() {
  cat <<END
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "$2", certificate-authority-data: $(base64 -w 0 "$control/ca.crt")}}]
users: [{name: $1, user: {token: $(<"$control/$1.token")}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
END
}

# control_prometheus PORT TARGET: its configuration. The rules are the project's, but what must hold for minutes must
# hold for four seconds.
control_prometheus() {
  local rules=$e2e/../../metrics/rules
  sed -E 's/^( *for: ).*/\14s/' "$rules/alerts.yaml" >"$control/alerts.yaml"
  cp -L "$rules/recording.yaml" "$control/recording.yaml"
  cat >"$control/prometheus.yml" <<END
global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: [alerts.yaml, recording.yaml]
scrape_configs:
  - job_name: podfence
    static_configs: [{targets: ["127.0.0.1:$2"], labels: {instance: lab}}]
END
  control_run prometheus prometheus --config.file="$control/prometheus.yml" --storage.tsdb.path="$control/metrics" \
    --web.listen-address="127.0.0.1:$1"
  control_await prometheus "http://127.0.0.1:$1/-/ready"
}

# control_start LAYER: starts everything, and leaves in LAYER/e2e/cluster how the guest reaches it, and in
# PODFENCE_LAB_NETWORK the way there. control_end ends it.
control_start() {
  local programs etcd peer api metrics agent start user server
  start=$(now)
  need busybox curl etcd openssl prometheus setpriv
  # Named as the lab's folders are, which it removes where their process is gone.
  control=$(mktemp -d "${TMPDIR:-/tmp}/podfence-lab.$$.XXXXXX")
  programs=$(e2e_folder kubernetes)
  control_secrets
  etcd=$(control_ports) peer=$((etcd + 1)) api=$((etcd + 2)) metrics=$((etcd + 3)) agent=$((etcd + 4))
  server=https://127.0.0.1:$api

  control_run etcd etcd --name lab --data-dir "$control/etcd" --log-level warn --logger zap \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "lab=http://127.0.0.1:$peer"
  control_await etcd "http://127.0.0.1:$etcd/health"

  cat >"$control/api" <<END
#!/bin/bash
# The API server, again and again.
while :; do
  setpriv --pdeathsig KILL $programs/kube-apiserver --etcd-servers=http://127.0.0.1:$etcd \\
    --bind-address=127.0.0.1 --secure-port=$api --advertise-address=$control_address --endpoint-reconciler-type=none \\
    --tls-cert-file=$control/api.crt --tls-private-key-file=$control/api.key --token-auth-file=$control/tokens.csv \\
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=10.96.0.0/16 \\
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$control/accounts.pub \\
    --service-account-signing-key-file=$control/accounts.key &
  echo \$! >$control/api.pid
  wait
done
END
  cat >"$control/kill-api" <<END
#!/bin/sh
kill -KILL \$(cat $control/api.pid) && echo killed
END
  chmod 755 "$control/api" "$control/kill-api"
  control_run api "$control/api"
  control_await api "$server/readyz"

  for user in kube-controller-manager kube-scheduler; do
    control_kubeconfig "$user" "$server" >"$control/$user.conf"
  done
  control_run controllers "$programs/kube-controller-manager" --kubeconfig="$control/kube-controller-manager.conf" \
    --leader-elect=false --secure-port=0 --use-service-account-credentials --root-ca-file="$control/ca.crt" \
    --service-account-private-key-file="$control/accounts.key"
  control_run scheduler "$programs/kube-scheduler" --kubeconfig="$control/kube-scheduler.conf" --leader-elect=false \
    --secure-port=0
  control_prometheus "$metrics" "$agent"

  mkdir -p "$1/e2e/cluster"
  cp "$control/ca.crt" "$control/admin.token" "$1/e2e/cluster/"
  for user in lab admin; do
    control_kubeconfig "$user" "https://$control_address:6443" >"$1/e2e/cluster/$user.conf"
  done
  local to="guestfwd=tcp:$control_address" nc
  nc="$(type -P busybox) nc 127.0.0.1"
  export PODFENCE_LAB_NETWORK="$to:6443-cmd:$nc $api,$to:6444-cmd:$control/kill-api,$to:9090-cmd:$nc $metrics"
  PODFENCE_LAB_NETWORK+=",hostfwd=tcp:127.0.0.1:$agent-10.0.2.15:9551"
  say "the control plane is up ($(since "$start") s)"
}
