#!/usr/bin/env bash
# Generates the Java code of the protos into target/generated-sources; Maven runs it, and has put the generators into
# target/generators. What has not changed is left alone, and so is not compiled again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
PATH="$PATH:$PWD/../../../.venv/bin"
command -v buf >/dev/null || { echo "error: there is no buf on the PATH; make setup brings it along"; exit 1; }
chmod +x target/generators/*
rm -rf target/fresh
buf generate --output target/fresh
if ! diff -rq target/fresh target/generated-sources/protos >/dev/null 2>&1; then
  rm -rf target/generated-sources/protos
  mkdir -p target/generated-sources
  mv target/fresh target/generated-sources/protos
fi
rm -rf target/fresh
