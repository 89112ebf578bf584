#!/usr/bin/env bash
# lane.sh [ARGS of pytest]: the clients and plugins of other languages: their own tests and linters, then all of them
# against one another in a real mesh. What a toolchain is missing for is named and skipped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
PATH="$root/.venv/bin:$PATH"

go_on_its_own() {
  local fresh unformatted
  command -v go >/dev/null || { echo "skipped: Go, since there is no go on the PATH"; return; }
  echo "==== Go"
  cd "$root/clients/go"
  unformatted=$(gofmt -l client plugin plugintest examples ./*.go "$here/go")
  [ -z "$unformatted" ] || { echo "error: gofmt would change $unformatted; gofmt -w does it"; return 1; }
  fresh=$(mktemp -d)
  "$root/clients/go/generate.sh" "$fresh"
  diff -r forgemesh "$fresh/forgemesh" >/dev/null || {
    echo "error: clients/go/forgemesh is not what the protos give; make protos does it"
    rm -rf "$fresh"
    return 1
  }
  rm -rf "$fresh"
  go vet ./...
  if command -v gcc >/dev/null; then
    go test -race ./...
  else
    echo "without a search for data races, since there is no gcc on the PATH"
    go test ./...
  fi
  cd "$here/go"
  go vet ./...
}

node_on_its_own() {
  local fresh program
  for program in node npm; do
    command -v "$program" >/dev/null || { echo "skipped: Node.js, since there is no $program on the PATH"; return; }
  done
  echo "==== Node.js"
  cd "$root/clients/node"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  npx --no biome ci . "$here/node"
  fresh=$(mktemp -d)
  ./generate.sh "$fresh"
  diff -r src/api "$fresh/src/api" >/dev/null || {
    echo "error: clients/node/src/api is not what the protos give; make protos does it"
    rm -rf "$fresh"
    return 1
  }
  rm -rf "$fresh"
  npm test --silent
}

java_on_its_own() {
  local program
  for program in javac mvn; do
    command -v "$program" >/dev/null || { echo "skipped: Java, since there is no $program on the PATH"; return; }
  done
  echo "==== Java"
  cd "$root/clients/java"
  mvn -q -B -P conformance verify
}

go_on_its_own
java_on_its_own
node_on_its_own
cd "$root"
FORGEMESH_LANGUAGES=1 pytest tests/languages "$@"
