#!/usr/bin/env bash
# lane.sh [ARGS of pytest]: a mesh whose traces go through an OpenTelemetry Collector to Jaeger, both real, and are read
# back there, and whose metrics Prometheus scrapes. Jaeger's own program is a Collector as well, and is both; it is built
# once from its Go module. What is missing is named, and what needs it is skipped. FORGEMESH_TRACING_CACHE keeps what is
# built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${FORGEMESH_TRACING_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/forgemesh/tracing}
PATH="$root/.venv/bin:$PATH"
OLDEST_GO=1.25

# Whether there is a Go that can build it, or fetch one that can.
go_will_do() {
  local found
  command -v go >/dev/null || { echo "skipped: Jaeger, since there is no go on the PATH"; return 1; }
  found=$(go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n' "$OLDEST_GO" "$found" | sort -V | head -n 1)" = "$OLDEST_GO" ] || {
    echo "skipped: Jaeger, since it needs Go $OLDEST_GO and this is Go $found"
    return 1
  }
}

build() { # where
  local started=$SECONDS
  echo "building Jaeger from its Go module (some minutes the first time) ..."
  mkdir -p "$cache"
  (cd "$here/jaeger" && GOFLAGS=-mod=readonly go build -trimpath -o "$1.new" github.com/jaegertracing/jaeger/cmd/jaeger)
  mv "$1.new" "$1"
  echo "built after $((SECONDS - started)) s: $1"
}

if go_will_do; then
  jaeger="$cache/jaeger-$(cat "$here/jaeger/go.mod" "$here/jaeger/go.sum" | sha256sum | cut -c 1-16)"
  [ -x "$jaeger" ] || build "$jaeger"
  export FORGEMESH_JAEGER=$jaeger
fi
command -v prometheus >/dev/null ||
  echo "skipped: Prometheus, since there is no prometheus on the PATH (Debian: apt-get install prometheus)"
cd "$root"
FORGEMESH_TRACING=1 pytest tests/tracing "$@"
