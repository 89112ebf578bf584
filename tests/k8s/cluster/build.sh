#!/usr/bin/env bash
# build.sh DIR [scaling]: builds what a cluster of one node is made of into DIR, once: kube (every command of Kubernetes in
# one binary), coredns, and the image of the container that holds a pod's namespaces; with `scaling` the images of KEDA's
# operator and adapter and of metrics-server too, with the manifests of their own. Needs root, Go and Debian's packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KUBERNETES=1.34.4
COREDNS=1.15.0
KEDA=2.20.2
METRICS_SERVER=0.8.0
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
#include <sys/wait.h>
#include <unistd.h>
static void bye(int s) { _exit(0); }
static void bury(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGTERM, bye); signal(SIGINT, bye); signal(SIGCHLD, bury); for (;;) pause(); }
END
  gcc -static -O2 -o source/pause/pause source/pause/pause.c
  python3 "$here/image.py" --name localhost/pause:1 --entry /pause --out "$1" "source/pause/pause:pause"
}

# of <module>: the folder of its files. What is built in it has the dependencies that its authors chose, replacements included.
of() { go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'; }

# packed <module> <package> <name> <out>: the image of one static program, with an entry of that name.
packed() {
  local bin=$PWD
  mkdir -p "source/$3"
  (cd "$(of "$1")" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$bin/source/$3/$3" "$2")
  python3 "$here/image.py" --name "localhost/$3:1" --entry "/$3" --out "$4" "source/$3/$3:$3"
  rm -rf "source/$3"
}
keda() { packed "github.com/kedacore/keda/v2@v$KEDA" ./cmd/operator keda "$1"; }
keda_adapter() { packed "github.com/kedacore/keda/v2@v$KEDA" ./cmd/adapter keda-adapter "$1"; }
metrics_server() { packed "sigs.k8s.io/metrics-server@v$METRICS_SERVER" ./cmd/metrics-server metrics-server "$1"; }

scaling_manifests() {
  rm -rf source/scaling && mkdir -p source/scaling
  cp -r "$(of "github.com/kedacore/keda/v2@v$KEDA")/config" source/scaling/keda
  cp -r "$(of "sigs.k8s.io/metrics-server@v$METRICS_SERVER")/manifests/base" source/scaling/metrics-server
  tar -C source/scaling --mode=u+w -cf "$1" keda metrics-server
  chmod -R u+w source/scaling && rm -rf source/scaling
}

export here KUBERNETES COREDNS KEDA METRICS_SERVER
export -f kube coredns pause of packed keda keda_adapter metrics_server scaling_manifests
step kube kube "Kubernetes $KUBERNETES (six minutes on two idle cores)"
step coredns coredns "CoreDNS $COREDNS"
step sandbox.tar pause "the image of the container that holds a pod"
[ "${2:-}" = scaling ] || exit 0
step metrics-server.tar metrics_server "metrics-server $METRICS_SERVER"
step keda.tar keda "KEDA's operator $KEDA (five minutes on two idle cores)"
step keda-adapter.tar keda_adapter "KEDA's metrics adapter $KEDA"
step scaling.tar scaling_manifests "the manifests of both"
