#!/usr/bin/env bash
# down.sh DIR: stops the cluster that up.sh started in DIR and takes away what a kubelet leaves on a machine: containers,
# the pods' network namespaces, mounts, cgroups, addresses that were leased, links to logs. DIR itself stays.
dir=$(realpath -m "$1")
cd "$dir" && [ -f net ] || exit 1
net=$(cat net)
alive() { [ -f "$1.pid" ] && kill -0 "$(cat "$1.pid")" 2>/dev/null; }
end() { # name, seconds of patience
  alive "$1" || return 0
  kill "$(cat "$1.pid")"
  for _ in $(seq "$((${2:-5} * 10))"); do
    alive "$1" || return 0
    sleep 0.1
  done
  kill -9 "$(cat "$1.pid")" 2>/dev/null
}
tasks() { ctr -a containerd.sock -n k8s.io tasks "$@" 2>/dev/null; }

if alive apiserver && alive kubelet; then
  system=metadata.name!=default,metadata.name!=kube-system,metadata.name!=kube-public,metadata.name!=kube-node-lease
  ./kubectl delete namespace --all --wait=false --field-selector "$system" >/dev/null 2>&1
  ./kubectl delete deployments,statefulsets,daemonsets,jobs,replicasets --all -A --wait=false >/dev/null 2>&1
  ./kubectl delete pods --all -A --grace-period=1 --wait=false >/dev/null 2>&1
  for _ in $(seq 60); do
    [ -n "$(./kubectl get pods -A --no-headers 2>/dev/null)" ] || break
    sleep 0.5
  done
fi
for name in dns proxy kubelet scheduler manager; do end $name; done
if alive containerd; then
  for task in $(tasks ls -q); do tasks kill -s KILL "$task"; done
  for _ in $(seq 50); do
    for task in $(tasks ls -q); do tasks rm -f "$task"; done
    [ -n "$(tasks ls -q)" ] || break
    sleep 0.1
  done
fi
for name in apiserver etcd containerd; do end $name; done
awk -v d="$dir/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l
for space in $(ip netns list | sed -n 's/^\(cni-[0-9a-f-]*\).*/\1/p'); do
  ip netns pids "$space" 2>/dev/null | grep -q . || ip netns delete "$space"
done
ip netns delete "$net" 2>/dev/null
find /sys/fs/cgroup -depth -type d -path "*/$net*" -exec rmdir {} + 2>/dev/null
rm -rf /var/lib/cni/results/"pods-$net"-* /var/lib/cni/results/cni-loopback-* 2>/dev/null
find /var/log/containers -lname "$dir/*" -delete 2>/dev/null
rm -f net
true
