#!/usr/bin/env bash
# provide.sh BINARIES [scaling]: what a cluster needs on this machine: Debian's packages, and what build.sh makes.
# Exits with 3, and a sentence, where no cluster can be had; that is no error.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
none() {
  echo "no cluster here: $*"
  exit 3
}
[ "$(uname -s)" = Linux ] || none "it needs Linux, this is $(uname -s)"
[ "$(id -u)" = 0 ] || none "it needs root (a kubelet makes namespaces, mounts and cgroups)"
command -v go >/dev/null || none "it needs Go, to build Kubernetes from its modules (https://go.dev/dl)"
command -v unshare >/dev/null && unshare --net true 2>/dev/null || none "this machine does not allow network namespaces"
programs=(containerd ctr runc nft conntrack ip etcd openssl gcc nsenter)
missing=()
for program in "${programs[@]}"; do command -v "$program" >/dev/null || missing+=("$program"); done
[ -x /usr/lib/cni/bridge ] || missing+=(/usr/lib/cni/bridge)
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || none "it needs ${missing[*]}, and there is no apt-get to install them with"
  echo "installing what is missing: ${missing[*]} ..."
  log=$(mktemp)
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    containerd runc containernetworking-plugins nftables conntrack iproute2 etcd-server openssl gcc libc6-dev \
    util-linux; } >"$log" 2>&1 || { tail -n 5 "$log"; none "apt-get could not install ${missing[*]}"; }
  rm -f "$log"
fi
"$here/build.sh" "$@"
