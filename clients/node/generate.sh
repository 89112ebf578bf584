#!/usr/bin/env bash
# Generates the TypeScript code of the protos into this folder, or into the folder that is named. buf and a Python that has
# the protos of google.rpc have to be on the PATH; the version of buf's plugin is locked in package-lock.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v npm >/dev/null || { echo "skipped: the TypeScript code of the protos, since there is no npm on the PATH"; exit 0; }
into=${1:-.}
[ -x node_modules/.bin/protoc-gen-ts_proto ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
[ "$into" != . ] || rm -rf src/api
common=$(python3 -c 'import pathlib, google.rpc.status_pb2 as s; print(pathlib.Path(s.__file__).parents[2])')
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
mkdir -p "$sources/google/rpc"
cp "$common"/google/rpc/{status,error_details}.proto "$sources/google/rpc"
cp -r ../../protos/forgemesh "$sources"
rm -rf "$sources/forgemesh/api/keda" "$sources/forgemesh/api/xds"
buf generate "$sources" --template buf.gen.yaml --output "$into" --include-imports
