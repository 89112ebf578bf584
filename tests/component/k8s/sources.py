"""A copy of k8s/ to change, and an overlay with every component in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.component.k8s.manifests import K8S

README = K8S / "README.md"
PLUGIN_COMPONENT = "components: [../../../../components/plugin]"


def copy_of_k8s(folder: Path) -> Path:
    """The copy; everything in it may be changed."""
    return Path(shutil.copytree(K8S, folder / "k8s"))


def change(file: Path, old: str, new: str) -> None:
    """Replace what stands there exactly once; else the test itself is wrong."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def with_every_component(k8s: Path) -> Path:
    """The overlay `example` of this copy, with one plugin scaled by KEDA, one by its CPU, a collector and a gateway."""
    for name, component in (("weather-stats", "keda"), ("weather-prepare", "hpa")):
        file = k8s / "overlays" / "example" / "plugins" / name / "kustomization.yaml"
        change(file, PLUGIN_COMPONENT, f"{PLUGIN_COMPONENT[:-1]}, ../../../../components/{component}]")
    overlay = k8s / "overlays" / "example"
    kustomization = overlay / "kustomization.yaml"
    components = "\ncomponents: [../../components/otel, ../../components/gateway]\n"
    kustomization.write_text(kustomization.read_text(encoding="utf-8") + components, encoding="utf-8")
    return overlay


def with_own_overlay(k8s: Path) -> Path:
    """The overlay that README.md tells people to write, with a plugin of their own in it."""
    *_, scaled, own = re.findall(
        r"^```yaml\n(apiVersion: .*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    overlay = k8s / "overlays" / "own"
    plugin = overlay / "plugins" / "words"
    plugin.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text(own, encoding="utf-8")
    (plugin / "kustomization.yaml").write_text(scaled, encoding="utf-8")
    reader = (k8s / "overlays" / "example" / "plugins" / "weather-reader" / "deployment.yaml").read_text(
        encoding="utf-8"
    )
    for old, new in (("weather-reader", "words"), ("weather.reader", "words"), ("forgemesh-weather", "words")):
        reader = reader.replace(old, new)
    (plugin / "deployment.yaml").write_text(reader, encoding="utf-8")
    return overlay
