"""`forgemesh k8s manifest`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from forgemesh.cli.arguments import seconds
from forgemesh.cli.command_line import Given
from forgemesh.cli.kubernetes.document import document_of
from forgemesh.cli.kubernetes.objects import objects_of
from forgemesh.cli.kubernetes.plan import Options, asides_of, workload_of
from forgemesh.cli.kubernetes.section import DeployedSection, deployed_section
from forgemesh.cli.kubernetes.workload import Egress, SecretMount
from forgemesh.cli.plugin_check import chosen, refuse_invalid
from forgemesh.cli.plugin_inspection import inspect_plugin
from forgemesh.cli.plugin_sections import CONFIG, PluginSection, read_tables
from forgemesh.cli.problem import Problem, usage


async def manifest(
    plugin: str,
    /,
    *,
    image: str | None = None,
    scaling: Literal["none", "keda", "hpa"] = "none",
    least: Annotated[int | None, Parameter(name="--min")] = None,
    most: Annotated[int | None, Parameter(name="--max")] = None,
    grace: str | None = None,
    env: tuple[str, ...] = (),
    secret: tuple[str, ...] = (),
    owner_key_secret: str = "",
    pull_secret: tuple[str, ...] = (),
    egress: tuple[str, ...] = (),
    image_path: tuple[str, ...] = ("/opt/plugins",),
    path: tuple[Path, ...] = (),
    config: Path = Path(CONFIG),
    line: Given,
) -> None:
    """
    Print what is applied to a Kubernetes cluster so that pods serve a plugin, for a mesh that runs there.

    As YAML, or with -o json as a List: kubectl apply -f - takes both. It is made from the plugin's manifest and its
    section of the configuration; no cluster and no mesh is asked. The global option --namespace is the Kubernetes
    namespace of the mesh here; without it kubectl's own counts.

    Parameters
    ----------
    plugin
        The name of a section of the configuration, or "module:Class".
    image
        The image that holds ForgeMesh and the plugin; PLUGIN:VERSION if not given.
    scaling
        Who decides how many pods there are: nobody, KEDA by the calls that wait and run, or an HPA by CPU.
    least
        At least so many pods, min_instances of the section if not given; 0 for none as long as nobody calls, with KEDA.
    most
        At most so many; max_instances of the section if not given.
    grace
        What calls get that run when a pod is to end, e.g. 30s; as long as a call may take if not given.
    env
        NAME=VALUE, a variable of the pods. May be repeated.
    secret
        NAME=FOLDER, a Secret whose keys are files in that folder of the pods. May be repeated.
    owner_key_secret
        A Secret with the key owner.key, if the plugin is published with one.
    pull_secret
        A Secret with which the image is pulled. May be repeated.
    egress
        CIDR or CIDR:PORT to which the plugin may connect beside the mesh, such as 10.0.0.0/8:5432. May be repeated.
    image_path
        Where the image has the plugin's modules. May be repeated.
    path
        Where to look for the module here; the working directory if not given. May be repeated.
    config
        The project's forgemesh.toml.
    """
    (section,) = chosen(plugin, path, config)
    if not section.load:
        raise usage(
            f"{section} is a program, of which nothing is known but its own image",
            hint="write its Deployment by hand; docs/kubernetes.md says what it needs",
        )
    options = Options(
        image=image,
        namespace=line.named_namespace,
        scaling=scaling,
        least=least,
        most=most,
        grace=seconds(grace, "--grace"),
        path=image_path,
        environment=dict(_pair(one, "--env", "NAME=VALUE") for one in env),
        secrets=tuple(SecretMount(secret=name, folder=folder) for name, folder in _mounts(secret)),
        owner_key_secret=owner_key_secret,
        pull_secrets=pull_secret,
        egress=tuple(map(_egress, egress)),
    )
    inspected = await inspect_plugin(section)
    refuse_invalid([inspected])
    assert inspected.manifest is not None
    deployed = _section(section, config)
    try:
        workload = workload_of(section.load, section.name, inspected.manifest, deployed, options)
    except ValueError as error:
        raise _wrong(section, str(error).splitlines()) from error
    objects = objects_of(workload)
    if line.terminal.json:
        line.terminal.value({"apiVersion": "v1", "kind": "List", "items": objects})
        return
    line.terminal.data(*document_of(objects).splitlines())
    line.terminal.talk(*(f"note: {one}" for one in asides_of(workload, deployed)))


def _section(section: PluginSection, config: Path) -> DeployedSection:
    """Its own keys; a plugin that is named as a module has none."""
    table: dict[str, Any] = read_tables(config)["plugins"][section.name] if section.name else {}
    try:
        return deployed_section(table)
    except ValueError as error:
        raise _wrong(section, [str(error)]) from error


def _wrong(section: PluginSection, found: Sequence[str]) -> Problem:
    message, *details = found if len(found) == 1 else (f"{len(found)} things are wrong", *found)
    return usage(f"{section} cannot be deployed so: {message}", *details, hint="forgemesh k8s manifest --help")


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise usage(f"{option} {text!r} is not {form}")
    return name, value


def _mounts(secrets: Sequence[str]) -> list[tuple[str, str]]:
    return [_pair(one, "--secret", "NAME=FOLDER") for one in secrets]


def _egress(text: str) -> Egress:
    """IPv6 networks stand in brackets if a port follows."""
    network, port = text, ""
    if text.startswith("["):
        network, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        network, _, port = text.partition(":")
    try:
        number = int(port) if port else None
        if number is not None and not 0 < number < 2**16:
            raise ValueError(f"{number} is no port")
        return Egress(network=str(ipaddress.ip_network(network)), port=number)
    except ValueError as error:
        raise usage(f"--egress {text!r}: {error}", hint="write it like 10.0.0.0/8:5432, or [fd00::/8]:5432") from error
