#!/usr/bin/env bash
# up.sh BINARIES DIR: starts a Kubernetes cluster of one node; its files, sockets, logs and pids are in DIR, which is
# empty or absent. All of it runs in a network namespace of its own, so nothing leaves the machine. DIR/kubectl is its
# kubectl; DIR/run runs any other command beside the pods.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(realpath "$1")
dir=$(realpath -m "$2")
net=forgemesh-$(printf %s "$dir" | sha256sum | cut -c -8)
mkdir -p "$dir"/{pki,kubelet,cni,cni-state,logs,volumes}
cd "$dir"
printf %s "$net" >net
trap '[ $? -eq 0 ] || "$here/down.sh" "$dir"' EXIT
in_net=(nsenter "--net=/var/run/netns/$net") # not `ip netns exec`: that hides the cgroups from the kubelet
kubectl() { ./kubectl "$@"; }
start() {
  local name=$1
  shift
  setsid "${in_net[@]}" "$@" >"$name.log" 2>&1 </dev/null &
  echo $! >"$name.pid"
}
until_true() { # seconds, command...
  local tries=$(($1 * 4))
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ "$((tries--))" -gt 0 ] || { echo "error: in vain: $*; look into $dir/*.log" >&2; return 1; }
    sleep 0.25
  done
}
certificate() { # name, subject, extensions
  openssl req -newkey rsa:2048 -nodes -keyout "pki/$1.key" -out "pki/$1.csr" -subj "$2" 2>/dev/null
  printf '%s' "${3:-}" >pki/ext
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -out "pki/$1.crt" -days 30 \
    -extfile pki/ext 2>/dev/null
}
printf '#!/bin/sh\nexec nsenter --net=/var/run/netns/%s "$@"\n' "$net" >run
printf '#!/bin/sh\nexec nsenter --net=/var/run/netns/%s %s/kube kubectl --kubeconfig %s/pki/kubeconfig "$@"\n' "$net" "$bin" "$dir" >kubectl
chmod +x run kubectl

# The node: a bridge carries its address, since this needs no module of the kernel; the API server wants a default route.
ip netns add "$net"
"${in_net[@]}" ip link set lo up
"${in_net[@]}" ip link add node0 type bridge
"${in_net[@]}" ip addr add 10.250.0.1/24 dev node0
"${in_net[@]}" ip link set node0 up
"${in_net[@]}" ip route add default via 10.250.0.254 dev node0
"${in_net[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'

openssl genrsa -out pki/sa.key 2048 2>/dev/null
openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -subj /CN=cluster -days 30 2>/dev/null
addresses=IP:127.0.0.1,IP:10.250.0.1,IP:10.96.0.1
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost
certificate api /CN=kube-apiserver "subjectAltName=$addresses,$names"
certificate client /O=system:masters/CN=kube-apiserver-kubelet-client
certificate proxy-client /CN=front-proxy-client
token=$(openssl rand -hex 16)
echo "$token,admin,admin,system:masters" >pki/tokens.csv
cat >pki/kubeconfig <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: c, context: {cluster: c, user: admin}}]
current-context: c
END
cat >containerd.toml <<END
version = 2
root = "$dir/containerd"
state = "$dir/containerd-state"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true # root may lack CAP_SYS_RESOURCE, and runc dies without it
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
END
cat >cni/10-pods.conflist <<END
{"cniVersion": "0.4.0", "name": "pods-$net", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$dir/cni-state", "ranges": [[{"subnet": "10.244.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
cat >kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$net
failSwapOn: false
podLogsDir: $dir/logs
containerRuntimeEndpoint: unix://$dir/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
END

# Its pods' cgroups are below one of its own: another kubelet on this machine would take them for its leftovers.
for tree in /sys/fs/cgroup /sys/fs/cgroup/*/; do
  [ ! -f "$tree/cgroup.procs" ] || mkdir -p "$tree/$net"
done
# All pods together would get as much of a busy machine as one process does; they are a score of processes.
[ ! -f "/sys/fs/cgroup/cpu/$net/cpu.shares" ] || echo 20480 >"/sys/fs/cgroup/cpu/$net/cpu.shares"

start etcd etcd --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --unsafe-no-fsync \
  --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start containerd containerd --config containerd.toml
start apiserver "$bin/kube" apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=0.0.0.0 --advertise-address=10.250.0.1 \
  --tls-cert-file=pki/api.crt --tls-private-key-file=pki/api.key --client-ca-file=pki/ca.crt \
  --token-auth-file=pki/tokens.csv --authorization-mode=Node,RBAC --service-cluster-ip-range=10.96.0.0/16 \
  --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key \
  --service-account-issuer=https://kubernetes.default.svc --kubelet-preferred-address-types=InternalIP \
  --kubelet-client-certificate=pki/client.crt --kubelet-client-key=pki/client.key \
  --requestheader-client-ca-file=pki/ca.crt --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file=pki/proxy-client.crt --proxy-client-key-file=pki/proxy-client.key
until_true 90 kubectl get --raw /readyz
start manager "$bin/kube" manager --kubeconfig pki/kubeconfig --leader-elect=false \
  --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --use-service-account-credentials
start scheduler "$bin/kube" scheduler --kubeconfig pki/kubeconfig --leader-elect=false
start kubelet "$bin/kube" kubelet --config kubelet.yaml --kubeconfig pki/kubeconfig --root-dir "$dir/kubelet" \
  --node-ip 10.250.0.1 --hostname-override node1
start proxy "$bin/kube" proxy --kubeconfig pki/kubeconfig --hostname-override node1 --proxy-mode=nftables \
  --conntrack-max-per-core=0
cat >Corefile <<'END'
.:53 {
  errors
  bind 10.250.0.1
  kubernetes cluster.local in-addr.arpa {
    kubeconfig pki/kubeconfig
    ttl 5
  }
}
END
start dns "$bin/coredns" -conf Corefile
until_true 30 ctr -a "$dir/containerd.sock" version
ctr -a "$dir/containerd.sock" -n k8s.io images import "$bin/sandbox.tar" >/dev/null

# Cluster DNS is a Service whose endpoint is a process of the node's; volumes are folders that user 65532 may write, each for
# one claim and not again: there are many.
kubectl apply -f - >/dev/null <<'END'
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-node, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [10.250.0.1]}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
END
for number in $(seq 40); do
  mkdir -p "volumes/$number"
  chown 65532:65532 "volumes/$number"
  cat <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$number}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOncePod]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: $dir/volumes/$number}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node1]}]}]}
---
END
done | kubectl apply -f - >/dev/null
until_true 60 kubectl get node node1
kubectl wait --for=condition=Ready node/node1 --timeout=60s >/dev/null
until_true 60 kubectl get serviceaccount default
