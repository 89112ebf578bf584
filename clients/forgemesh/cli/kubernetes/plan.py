"""A workload from a plugin's manifest, its section of forgemesh.toml and what its operator types."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from forgemesh.api.plugin.v1.manifest_pb2 import Manifest
from forgemesh.cli.kubernetes.environment import reserved_variables
from forgemesh.cli.kubernetes.names import is_dns_label
from forgemesh.cli.kubernetes.section import MOST_PODS, DeployedSection, length_of, limits_of
from forgemesh.cli.kubernetes.workload import Egress, Limits, Scaling, SecretMount, Workload
from forgemesh.plugin.configuration import violations_of
from forgemesh.routing.scaling import ScaleRule

UNSAID_CALL = 60.0
"""Seconds that a call may take if neither its operation nor its caller says."""
LONGEST_GRACE = 3600
_LARGEST_MAP = 1_000_000
"""Bytes of one ConfigMap; Kubernetes takes 1 MiB with its keys."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is typed; None and empty where nothing is."""

    image: str | None = None
    namespace: str | None = None
    scaling: Scaling = "none"
    least: int | None = None
    most: int | None = None
    grace: float | None = None
    path: tuple[str, ...] = ("/opt/plugins",)
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[SecretMount, ...] = ()
    owner_key_secret: str = ""
    pull_secrets: tuple[str, ...] = ()
    egress: tuple[Egress, ...] = ()


def workload_of(load: str, name: str, manifest: Manifest, section: DeployedSection, options: Options) -> Workload:
    """The workload; raises ValueError with everything that is wrong, a line each."""
    grace, grace_reason = _grace(manifest, section, options)
    workload = Workload(
        plugin_id=manifest.plugin_id,
        version=manifest.version,
        description=manifest.description,
        load=load,
        section=name,
        image=options.image if options.image is not None else image_of(manifest),
        path=options.path,
        namespace=options.namespace,
        instances=section.instances,
        exclusive=section.exclusive,
        scaling=options.scaling,
        cooldown=length_of(section.scale.down_after if section.idle_stop is None else section.idle_stop),
        grace=grace,
        grace_reason=grace_reason,
        start_seconds=math.ceil(length_of(section.start_timeout)),
        limits=limits_of(section, _own_limits(manifest)),
        environment=section.environment | options.environment,
        config=json.dumps(section.config, indent=2) if section.config else "",
        secrets=options.secrets,
        owner_key_secret=options.owner_key_secret,
        pull_secrets=options.pull_secrets,
        egress=options.egress,
    )
    wrong = [*_unnameable(options), *_misfits(workload, manifest, section), *_bounds(section, options)]
    if wrong:
        raise ValueError("\n".join(wrong))
    return replace(workload, rule=_rule(section, options)) if options.scaling != "none" else workload


def asides_of(workload: Workload, section: DeployedSection) -> Iterator[str]:
    """What the pods lack of what the section has on a machine, and how they get it."""
    for name in section.inherit:
        if name not in workload.environment:
            yield f"{name} is passed on from `forgemesh up`, and is not set in pods: give it with --env {name}=VALUE"
    for file in sorted(_secret_files(section.config)):
        if not any(file.startswith(f"{one.folder.rstrip('/')}/") for one in workload.secrets):
            folder = file.rpartition("/")[0] or "/"
            yield f"its configuration reads {file}: mount a Secret there with --secret NAME={folder}"
    if section.owner_key_file is not None and not workload.owner_key_secret:
        yield "the plugin has an owner: give its key as a Secret with the key owner.key, --owner-key-secret NAME"


def image_of(manifest: Manifest) -> str:
    """What the image of a plugin is called if nobody says: weather.stats:1.2.0; empty if no image can be called so."""
    repository, tag = manifest.plugin_id, manifest.version.replace("+", "_")
    return f"{repository}:{tag}" if _REPOSITORY.fullmatch(repository) and _TAG.fullmatch(tag) else ""


def _own_limits(manifest: Manifest) -> Limits:
    said = manifest.limits
    return Limits(memory_bytes=said.memory_bytes, cpu_millis=said.cpu_millis, open_files=said.open_files)


def _grace(manifest: Manifest, section: DeployedSection, options: Options) -> tuple[int, str]:
    """Whole seconds, and where they are from."""
    if options.grace is not None:
        return _whole(options.grace), "as --grace says"
    if section.grace is not None:
        return _whole(length_of(section.grace)), "as forgemesh.toml says"
    longest = max(manifest.operations, key=lambda one: _length(one.timeout), default=None)
    if longest is None or _length(longest.timeout) <= UNSAID_CALL:
        return _whole(UNSAID_CALL), "as long as a call may take that nobody bounds"
    return _whole(_length(longest.timeout)), f"as long as one of {longest.name} may take"


def _length(timeout: Any) -> float:
    return float(timeout.seconds + timeout.nanos / 1e9)


def _whole(seconds: float) -> int:
    return min(LONGEST_GRACE, max(1, math.ceil(seconds)))


def _rule(section: DeployedSection, options: Options) -> ScaleRule:
    least, most = _least(section, options), _most(section, options)
    scale = section.scale
    return ScaleRule(
        least=least,
        most=most if most is not None else least,
        target=scale.target,
        tolerance=scale.tolerance,
        up_after=length_of(scale.up_after),
        down_after=length_of(scale.down_after),
    )


def _least(section: DeployedSection, options: Options) -> int:
    if options.least is not None:
        return options.least
    return max(section.min_instances or 0, 1 if options.scaling == "hpa" else 0)


def _most(section: DeployedSection, options: Options) -> int | None:
    return options.most if options.most is not None else section.max_instances


def _bounds(section: DeployedSection, options: Options) -> Iterator[str]:
    """What is wrong with how many pods there may be."""
    least, most = _least(section, options), _most(section, options)
    if options.scaling == "none":
        if options.least is not None or options.most is not None:
            yield "--min and --max are for --scaling keda or hpa; without it `instances` of the section counts"
        return
    if section.exclusive:
        yield "the plugin is exclusive: never more than one process serves it, so it cannot be scaled"
    if most is None:
        yield "there is no bound to scale up to: give --max N, or max_instances in its section"
    elif not 0 <= least <= most <= MOST_PODS or most == 0:
        yield f"{least} to {most} pods make no range: give --min and --max in order, up to {MOST_PODS}"
    if options.scaling == "hpa" and least < 1:
        yield "--min 0: an HPA cannot go down to no pod at all; --scaling keda can"
    if options.scaling == "keda" and options.namespace is None:
        yield "KEDA reaches the balancer by the namespace of the mesh: give --namespace NAME"


def _unnameable(options: Options) -> Iterator[str]:
    """What Kubernetes would not take as a name."""
    names = [
        ("--namespace", options.namespace),
        ("--owner-key-secret", options.owner_key_secret or None),
        *(("--pull-secret", name) for name in options.pull_secrets),
        *(("--secret", one.secret) for one in options.secrets),
    ]
    for option, name in names:
        if name is not None and not all(is_dns_label(part) for part in name.split(".")):
            yield f"{option} {name!r} is no name: lower-case letters, digits and -"
    for one in options.secrets:
        if not one.folder.startswith("/") or one.folder == "/" or ":" in one.folder:
            yield f"--secret {one.secret}={one.folder}: name the folder in the pod from its root, such as /run/secrets"
    for folder in options.path:
        if not folder.startswith("/"):
            yield f"--image-path {folder!r} is no folder of the image: name it from its root, such as /opt/plugins"


def _misfits(workload: Workload, manifest: Manifest, section: DeployedSection) -> Iterator[str]:
    """What the pods could not be started with."""
    if _IMAGE.fullmatch(workload.image) is None:
        yield f"{workload.image!r} is no name of an image: give --image NAME:TAG"
    for name in workload.environment:
        if _VARIABLE.fullmatch(name) is None:
            yield f"{name!r} is no name of an environment variable"
    for name in sorted(reserved_variables(replace(workload, environment={})) & workload.environment.keys()):
        yield f"{name} is set by the manifest itself; leave it out"
    if section.exclusive and section.instances > 1:
        yield f"instances = {section.instances} of an exclusive plugin, which has one"
    if not manifest.config_schema and section.config:
        yield "config: the plugin takes none"
    elif manifest.config_schema:
        yield from (f"config: {one}" for one in violations_of(manifest.config_schema, section.config))
    size = sum(len(text.encode()) for text in (workload.config, *workload.environment.values()))
    if size > _LARGEST_MAP:
        yield f"configuration and variables have {size} bytes; a ConfigMap holds {_LARGEST_MAP}: use a Secret"


def _secret_files(value: object) -> Iterator[str]:
    """The files that a configuration names as secrets."""
    if isinstance(value, dict):
        if value.keys() == {"file"} and isinstance(value["file"], str):
            yield value["file"]
        else:
            for one in value.values():
                yield from _secret_files(one)
    elif isinstance(value, list):
        for one in value:
            yield from _secret_files(one)
