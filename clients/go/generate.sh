#!/usr/bin/env bash
# Generates the Go code of the protos into this folder, or into the folder that is named. buf has to be on the PATH; the
# versions of its plugins are locked in go.mod.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v go >/dev/null || { echo "skipped: the Go code of the protos, since there is no go on the PATH"; exit 0; }
into=${1:-.}
[ "$into" != . ] || rm -rf forgemesh
buf generate --output "$into"
