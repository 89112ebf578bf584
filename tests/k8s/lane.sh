#!/usr/bin/env bash
# lane.sh test|full [ARGS of pytest] | up | down | rounds N: a real cluster of one node with this checkout's image in it.
#   test   starts one, runs the tests beside its pods, and takes it down again
#   full   the same with what takes long: load under kills, and scaling by KEDA and metrics-server, which it builds
#   up     starts one to play with, or renews the image in the one that runs
#   down   takes that one down
#   rounds starts and stops one N times with the example in it, and shows what is left on the machine that was not there
# Where none can be had, it says why and does nothing. FORGEMESH_K8S_CACHE keeps what is built once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${FORGEMESH_K8S_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/forgemesh/k8s}
played=${FORGEMESH_K8S_DIR:-/var/tmp/forgemesh-k8s}
example="$root/k8s/overlays/example"

provide() {
  local status=0
  mkdir -p "$cache"
  "$here/cluster/provide.sh" "$cache/bin" "$@" || status=$?
  [ "$status" -ne 3 ] || exit 0
  return "$status"
}

make_image() { # file
  local started=$SECONDS
  echo "making the image localhost/forgemesh:dev ..."
  "$here/cluster/image.sh" "$cache" "$1" dev
  echo "the image is made after $((SECONDS - started)) s"
}

import_image() { # cluster, file
  ctr -a "$1/containerd.sock" -n k8s.io images import "$2" >/dev/null
}

load_image() { # cluster
  make_image "$1/forgemesh.tar"
  import_image "$1" "$1/forgemesh.tar"
  rm -f "$1/forgemesh.tar"
}

boot() { # cluster
  local started=$SECONDS
  echo "starting a cluster in $1 ..."
  "$here/cluster/up.sh" "$cache/bin" "$1"
  echo "the node is ready after $((SECONDS - started)) s"
}

# What a cluster could leave on the machine: namespaces, mounts, cgroups, leases of addresses, links to logs, processes.
traces() {
  ip netns list | sort
  awk '{ print $2 }' /proc/mounts | sort
  find /sys/fs/cgroup -type d -path '*forgemesh-*'
  ls /var/lib/cni/results /var/lib/cni/networks /var/log/containers /var/log/pods 2>/dev/null || true
  pgrep -l -f "$cache/bin/|containerd|/forgemesh-k8s" | grep -v pgrep | sort || true
}

tests_in_a_cluster() { # folder of tests, arguments of pytest
  local tests=$1
  shift
  dir=$(mktemp -d /tmp/forgemesh-k8s.XXXXXX)
  trap '"$here/cluster/down.sh" "$dir" || true; rm -rf "$dir"' EXIT
  boot "$dir"
  load_image "$dir"
  [ "$tests" != full ] || "$here/cluster/scaling.sh" "$cache/bin" "$dir"
  FORGEMESH_CLUSTER=$dir "$dir/run" "$root/.venv/bin/pytest" -s "$here/$tests" "$@"
}

case ${1:-} in
  test)
    shift
    provide
    tests_in_a_cluster live "$@"
    ;;
  full)
    shift
    provide scaling
    tests_in_a_cluster full "$@"
    ;;
  up)
    provide
    [ -f "$played/net" ] || boot "$played"
    load_image "$played"
    echo "kubectl:         $played/kubectl"
    echo "the example:     $played/kubectl apply -k $example"
    echo "beside the pods: $played/run COMMAND"
    echo "stop it:         make k8s-down"
    ;;
  down)
    [ -f "$played/net" ] || { echo "no cluster runs in $played"; exit 0; }
    "$here/cluster/down.sh" "$played"
    rm -rf "$played"
    echo "stopped"
    ;;
  rounds)
    provide
    dir=$(mktemp -d /tmp/forgemesh-k8s.XXXXXX)
    trap '[ ! -f "$dir/net" ] || "$here/cluster/down.sh" "$dir"; rm -rf "$dir" "$dir".*' EXIT
    make_image "$dir.tar"
    traces >"$dir.before"
    for round in $(seq "${2:-20}"); do
      boot "$dir"
      import_image "$dir" "$dir.tar"
      "$dir/kubectl" apply --warnings-as-errors -k "$example" >/dev/null
      "$dir/kubectl" wait -n forgemesh --for=condition=Ready pods --all --timeout=120s >/dev/null
      "$here/cluster/down.sh" "$dir"
      find "$dir" -mindepth 1 -delete
      traces >"$dir.after"
      diff "$dir.before" "$dir.after" || { echo "error: round $round left this behind"; exit 1; }
      echo "round $round left nothing behind"
    done
    ;;
  *)
    sed -n '2,8s/^# //p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
