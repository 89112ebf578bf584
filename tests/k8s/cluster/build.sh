#!/usr/bin/env bash
# build.sh DIR: builds what a cluster of one node is made of into DIR, once: kube (every command of Kubernetes in one
# binary), coredns, and the image of the container that holds a pod's namespaces. Needs root, Go and Debian's packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KUBERNETES=1.34.4
COREDNS=1.15.0
mkdir -p "$1"
cd "$1"

say() { printf '%s\n' "$*" >&2; }

# step <file> <function> <what it is>: what is there already is not made again, and what is half made is not taken for it.
step() {
  local file=$1 function=$2 what=$3 started=$SECONDS
  [ ! -s "$file" ] || return 0
  say "building $what ..."
  if ! bash -euo pipefail -c "$function \"\$1\"" _ "$file.part" >"$function.log" 2>&1; then
    tail -n 5 "$function.log" >&2
    say "error: $what could not be built; the whole log: $PWD/$function.log"
    return 1
  fi
  mv "$file.part" "$file"
  say "built $what in $((SECONDS - started)) s"
}

kube() {
  local source v=k8s.io/component-base/version
  mkdir -p source/kube && cp "$here/kube/main.go" source/kube/ && cd source/kube
  printf 'module cluster.test/kube\n\ngo 1.24.0\n' >go.mod
  source=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    printf 'module cluster.test/kube\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$KUBERNETES"
    awk -v v="v0.${KUBERNETES#1.}" '/=> \.\/staging/ { print "\t" $1 " => " $1 " " v }' "$source"
    printf ')\n'
  } >go.mod
  go mod tidy
  go build -trimpath -o "../../$1" \
    -ldflags="-s -w -X $v.gitVersion=v$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=${KUBERNETES:2:2}" .
}

coredns() {
  mkdir -p source/dns && cd source/dns
  printf 'module cluster.test/dns\n\ngo 1.24\n' >go.mod
  go get -tool "github.com/coredns/coredns@v$COREDNS"
  go build -trimpath -ldflags='-s -w' -o "../../$1" github.com/coredns/coredns
}

pause() {
  mkdir -p source/pause
  cat >source/pause/pause.c <<'END'
#include <signal.h>
#include <unistd.h>
static void bye(int s) { _exit(0); }
int main(void) { signal(SIGTERM, bye); signal(SIGINT, bye); for (;;) pause(); }
END
  gcc -static -O2 -o source/pause/pause source/pause/pause.c
  python3 "$here/image.py" --name localhost/pause:1 --entry /pause --out "$1" "source/pause/pause:pause"
}

export here KUBERNETES COREDNS
export -f kube coredns pause
step kube kube "Kubernetes $KUBERNETES (six minutes on two idle cores)"
step coredns coredns "CoreDNS $COREDNS"
step pause.tar pause "the image of the container that holds a pod"
