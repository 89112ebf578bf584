#!/usr/bin/env bash
# scaling.sh BINARIES DIR: puts KEDA and metrics-server into the cluster that up.sh has started in DIR, by the manifests
# that come with their modules, and waits until the API server answers for both.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(realpath "$1")
cd "$2"
started=$SECONDS
echo "starting KEDA and metrics-server ..."
rm -rf scaling && mkdir scaling
tar -C scaling -xf "$bin/scaling.tar"
cp -r "$here/scaling" scaling/here
for image in keda keda-adapter metrics-server; do
  ctr -a containerd.sock -n k8s.io images import "$bin/$image.tar" >/dev/null
done
for name in keda metrics-server; do
  # on the server: the definitions of KEDA's kinds are longer than an annotation may be
  ./kubectl apply --server-side -k "scaling/here/$name" >/dev/null
done
for service in v1beta1.external.metrics.k8s.io v1beta1.metrics.k8s.io; do
  ./kubectl wait --for=condition=Available "apiservice/$service" --timeout=300s >/dev/null ||
    { ./kubectl get pods -A; ./kubectl describe "apiservice/$service" | tail -n 12; exit 1; }
done
echo "KEDA and metrics-server serve after $((SECONDS - started)) s"
