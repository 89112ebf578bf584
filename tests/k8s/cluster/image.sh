#!/usr/bin/env bash
# image.sh CACHE OUT.tar TAG: the image of this checkout, with what requirements/runtime.txt locks and the example plugins.
# The root file system and the libraries are made once and kept in CACHE; the checkout's own files are a layer of their own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=$1 out=$2 tag=$3
python=$root/.venv/bin/python
mkdir -p "$cache"
key=$({ "$python" -VV; cat "$here/rootfs.py" "$root/requirements/runtime.txt"; } | sha256sum | cut -c -16)
base=$cache/base-$key libraries=$cache/libraries-$key
pip() { "$python" -m pip --disable-pip-version-check --no-input install --quiet "$@"; }
compile() { "$python" -m compileall -q -j 2 --invalidation-mode unchecked-hash "$@" >/dev/null || true; }

if [ ! -d "$libraries" ]; then
  rm -rf "$libraries.part"
  pip --require-hashes --only-binary :all: --requirement "$root/requirements/runtime.txt" --target "$libraries.part"
  compile -s "$libraries.part" -p /opt/libraries "$libraries.part"
  mv "$libraries.part" "$libraries"
fi
if [ ! -d "$base" ]; then
  python3 "$here/rootfs.py" "$base.part" "$python" "$libraries"
  compile -s "$base.part" -p / "$base.part"
  mv "$base.part" "$base"
fi

work=$(mktemp -d "$cache/app.XXXXXX")
trap 'rm -rf "$work"' EXIT
pip --no-deps --no-build-isolation --target "$work/app" "$root"
rm -rf "$work/app/bin"
printf '#!/usr/local/bin/python\nimport sys\nfrom forgemesh.cli.main import main\nsys.exit(main())\n' >"$work/forgemesh"
chmod 755 "$work/forgemesh"
mkdir -p "$work/plugins"
cp -r "$root/examples/weather/plugins" "$work/plugins/weather"
cp -r "$root/examples/weather/data" "$work/plugins/weather/data"
cp -r "$root/bench/noop" "$work/plugins/noop"
find "$work" -name __pycache__ -prune -exec rm -rf {} +
compile -s "$work/app" -p /opt/forgemesh "$work/app"
chmod -R go+rX "$work"
python3 "$here/image.py" --name "localhost/forgemesh:$tag" --out "$out" \
  --env PATH=/usr/local/bin:/usr/bin:/bin --env PYTHONPATH=/opt/forgemesh:/opt/libraries --env PYTHONUNBUFFERED=1 \
  "$base:." "$libraries:opt/libraries" "$work/app:opt/forgemesh" "$work/plugins:opt/plugins" "$work/forgemesh:usr/local/bin/forgemesh"
