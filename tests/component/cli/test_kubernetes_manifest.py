"""From a plugin in a folder to what is applied to a cluster, as its author types it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from forgemesh.api.registry.v1.instance_pb2 import Instance
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.kubernetes_manifest import manifest
from forgemesh.cli.main import main
from forgemesh.cli.problem import Problem
from forgemesh.cli.service_discovery import catalogue
from forgemesh.registry.main import running
from tests.component.cli.typed import Typed
from tests.component.registry.registries import settings_of
from tests.manual_clock import ManualClock
from tests.mesh.processes import eventually

STOCK = """
import dataclasses
from forgemesh.plugin import Limits, operation, plugin

@dataclasses.dataclass
class Configuration:
    shelves: int = 1

@plugin("shop.stock", version="1.2.0", config=Configuration, limits=Limits(memory_bytes=128 * 2**20, cpu=0.5))
class Stock:

    def __init__(self, config: Configuration) -> None:
        pass

    @operation(timeout="90s")
    def count(self, article: str) -> int:
        return 1

    @operation
    def names(self) -> list[str]:
        return []
"""
CONFIG = """
[plugins.stock]
load = "stock:Stock"
instances = 2
max_instances = 4
environment = { SHELF = "1e3" }
inherit = ["HOME_OF_STOCK"]
config = { shelves = 3 }
scale = { target = 0.5, down_after = "1m" }

[plugins.alone]
load = "stock:Stock"
exclusive = true

[plugins.foreign]
command = ["./foreign"]
manifest = "foreign.toml"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stock.py").write_text(STOCK)
    (tmp_path / "forgemesh.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed() -> Typed:
    return Typed("nobody.invalid:7401")


async def printed(typed: Typed, plugin: str = "stock", **options: Any) -> dict[str, list[dict[str, Any]]]:
    """What is printed, by kind."""
    line = replace(typed.line(), named_namespace=options.pop("namespace", None))
    await manifest(plugin, line=line, **options)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in yaml.safe_load_all(typed.out.getvalue()):
        found.setdefault(one["kind"], []).append(one)
    return found


def container(found: dict[str, list[dict[str, Any]]], kind: str = "Deployment") -> dict[str, Any]:
    (one,) = found[kind][0]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one


async def test_what_the_author_says_is_what_pods_get(typed: Typed) -> None:
    found = await printed(typed)

    assert list(found) == [
        "ServiceAccount",
        "ConfigMap",
        "NetworkPolicy",
        "Job",
        "Deployment",
        "PodDisruptionBudget",
    ]
    deployment, variables = found["Deployment"][0], found["ConfigMap"][0]["data"]
    assert (deployment["metadata"]["name"], deployment["spec"]["replicas"]) == ("plugin-shop-stock-v1-2-0", 2)
    assert container(found)["image"] == "shop.stock:1.2.0"
    assert container(found)["resources"] == {
        "requests": {"cpu": "500m", "memory": "96Mi"},
        "limits": {"cpu": "500m", "memory": "160Mi"},
    }
    assert (variables["SHELF"], variables["FORGEMESH_HOST_GRACE"]) == ("1e3", "90")
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 95
    assert yaml.safe_load(found["ConfigMap"][1]["data"]["config.json"]) == {"shelves": 3}
    assert "namespace" not in deployment["metadata"]


async def test_what_a_pod_lacks_of_what_the_machine_passes_on_is_said_beside_the_yaml(typed: Typed) -> None:
    await printed(typed)

    (said,) = typed.talk
    assert said.startswith("note: HOME_OF_STOCK is passed on from `forgemesh up`, and is not set in pods")
    assert said.endswith("--env HOME_OF_STOCK=VALUE")


async def test_what_is_typed_wins(typed: Typed) -> None:
    found = await printed(
        typed,
        image="stock:7",
        namespace="mesh",
        grace="30s",
        env=("SHELF=2", "HOME_OF_STOCK=/x=y"),
        secret=("db=/run/secrets/db",),
        owner_key_secret="owner",
        pull_secret=("hub",),
        egress=("10.0.0.0/8:5432", "[fd00::/8]:443", "fd01::/16"),
    )

    variables, pod = found["ConfigMap"][0]["data"], found["Deployment"][0]["spec"]["template"]["spec"]
    assert (variables["SHELF"], variables["HOME_OF_STOCK"]) == ("2", "/x=y")
    assert pod["terminationGracePeriodSeconds"] == 35
    assert pod["imagePullSecrets"] == [{"name": "hub"}]
    mounted = {mount["name"]: mount["mountPath"] for mount in container(found)["volumeMounts"]}
    assert (mounted["secret-0"], mounted["owner-key"]) == ("/run/secrets/db", "/run/secrets/forgemesh-owner")
    assert "--owner-key-file" in container(found, "Job")["command"]
    assert "secret-0" not in str(found["Job"])
    blocks = [rule for rule in found["NetworkPolicy"][0]["spec"]["egress"] if "ipBlock" in str(rule)]
    assert blocks == [
        {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 5432}]},
        {"to": [{"ipBlock": {"cidr": "fd00::/8"}}], "ports": [{"protocol": "TCP", "port": 443}]},
        {"to": [{"ipBlock": {"cidr": "fd01::/16"}}]},
    ]
    assert typed.talk == []


async def test_keda_scales_by_the_rule_of_the_section(typed: Typed) -> None:
    found = await printed(typed, scaling="keda", namespace="mesh")

    (trigger,) = found["ScaledObject"][0]["spec"]["triggers"]
    assert "replicas" not in found["Deployment"][0]["spec"]
    assert trigger["metadata"] == {
        "scalerAddress": "balancer.mesh.svc:7403",
        "plugin": "shop.stock",
        "version": "1.2.0",
        "minReplicas": "0",
        "maxReplicas": "4",
        "targetUtilization": "0.5",
    }
    behavior = found["ScaledObject"][0]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 60


async def test_an_hpa_keeps_one_pod_at_least(typed: Typed) -> None:
    found = await printed(typed, scaling="hpa", most=9)

    spec = found["HorizontalPodAutoscaler"][0]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 9)


async def test_programs_get_one_list(typed: Typed) -> None:
    await manifest("stock:Stock", config=Path("nowhere.toml"), line=typed.line(json=True))

    assert (typed.value["kind"], len(typed.value["items"])) == ("List", 6)
    assert typed.talk == []


@pytest.mark.parametrize(
    ("plugin", "options", "complaint"),
    [
        ("stock", {"scaling": "keda"}, "give --namespace"),
        ("stock", {"scaling": "hpa", "least": 0}, "an HPA cannot go down to no pod at all"),
        ("stock", {"scaling": "hpa", "least": 5}, "5 to 4 pods make no range"),
        ("stock", {"scaling": "hpa", "most": 1001}, "1 to 1001 pods make no range"),
        ("stock:Stock", {"scaling": "hpa"}, "there is no bound to scale up to"),
        ("stock", {"least": 1}, "are for --scaling keda or hpa"),
        ("alone", {"scaling": "hpa", "most": 2}, "the plugin is exclusive"),
        ("stock", {"namespace": "Mesh"}, "--namespace 'Mesh' is no name"),
        ("stock", {"pull_secret": ("a b",)}, "--pull-secret 'a b' is no name"),
        ("stock", {"secret": ("db=run",)}, "name the folder in the pod from its root"),
        ("stock", {"secret": ("db",)}, "is not NAME=FOLDER"),
        ("stock", {"image": "a b"}, "'a b' is no name of an image"),
        ("stock", {"image": ""}, "is no name of an image"),
        ("stock", {"image_path": ("plugins",)}, "is no folder of the image"),
        ("stock", {"env": ("a b=c",)}, "'a b' is no name of an environment variable"),
        ("stock", {"env": ("FORGEMESH_HOST_LISTEN=0.0.0.0:1",)}, "is set by the manifest itself"),
        ("stock", {"env": ("FORGEMESH_HOST_INSTANCE_ID=x",)}, "is set by the manifest itself"),
        ("stock", {"env": (f"LONG={'x' * 1_000_001}",)}, "a ConfigMap holds"),
        ("stock", {"egress": ("warehouse",)}, "warehouse"),
        ("stock", {"egress": ("10.0.0.0/8:99999",)}, "99999 is no port"),
        ("stock", {"grace": "soon"}, "is not a duration"),
        ("foreign", {}, "is a program"),
        ("nobody", {}, "has no section"),
    ],
)
async def test_what_no_cluster_could_run_is_refused_before_anything_is_printed(
    plugin: str, options: dict[str, Any], complaint: str, typed: Typed
) -> None:
    with pytest.raises(Problem) as raised:
        await printed(typed, plugin, **options)

    assert raised.value.exit_code is ExitCode.USAGE
    assert complaint in "\n".join((raised.value.message, *raised.value.details))
    assert typed.out.getvalue() == ""


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("config = { shelves = 'many' }", "config:"),
        ("instances = -1", "instances"),
        ("limits = { memory = '12 stones' }", "limits.memory"),
        ("grace = 'soon'", "grace"),
        ("scale = { down_after = 'soon' }", "scale.down_after"),
        ("instances = 2\nexclusive = true", "instances = 2 of an exclusive plugin"),
    ],
)
async def test_a_section_that_cannot_be_is_refused_by_its_key(
    section: str, complaint: str, folder: Path, typed: Typed
) -> None:
    (folder / "forgemesh.toml").write_text(f'[plugins.stock]\nload = "stock:Stock"\n{section}\n')

    with pytest.raises(Problem) as raised:
        await printed(typed)

    assert complaint in "\n".join((raised.value.message, *raised.value.details))


async def test_all_that_is_wrong_is_said_at_once(typed: Typed) -> None:
    with pytest.raises(Problem, match="2 things are wrong") as raised:
        await printed(typed, namespace="Mesh", env=("a b=c",))

    assert len(raised.value.details) == 2


async def test_secrets_and_the_owner_that_a_section_names_are_asked_for(folder: Path, typed: Typed) -> None:
    (folder / "stock.py").write_text(
        STOCK.replace("shelves: int = 1", "password: Secret").replace("import Limits", "import Limits, Secret")
    )
    (folder / "forgemesh.toml").write_text(
        '[plugins.stock]\nload = "stock:Stock"\nowner_key_file = "stock.key"\n'
        'config = { password = { file = "/run/secrets/db/password" } }\n'
    )

    await printed(typed)

    assert [text.partition(": mount")[0].partition(": give")[0] for text in typed.talk] == [
        "note: its configuration reads /run/secrets/db/password",
        "note: the plugin has an owner",
    ]


def test_the_namespace_of_kubernetes_is_the_global_option(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["k8s", "manifest", "stock", "--namespace", "default"])

    assert code == ExitCode.OK
    assert {one["metadata"]["namespace"] for one in yaml.safe_load_all(capsys.readouterr().out)} == {"default"}


async def test_the_job_that_is_printed_publishes_the_plugin(folder: Path, typed: Typed) -> None:
    found = await printed(typed, image_path=(str(folder),))
    job = container(found, "Job")
    async with running(settings_of(folder / "registry.db"), ManualClock()) as server:
        said = {one["name"]: one["value"] for one in job["env"]} | found["ConfigMap"][0]["data"]
        assert said.pop("FORGEMESH_REGISTRY") == "registry:7402"
        process = await asyncio.create_subprocess_exec(
            sys.executable, *job["command"][1:], env=os.environ | said | {"FORGEMESH_REGISTRY": server.address}
        )

        assert await process.wait() == 0
        manifests, instances = await catalogue(server.address)
    assert [(one.plugin_id, one.version) for one in manifests] == [("shop.stock", "1.2.0")]
    assert instances == []


async def test_the_pod_that_is_printed_registers_under_its_name_and_address(folder: Path, typed: Typed) -> None:
    found = await printed(typed, image_path=(str(folder),))
    config = folder / "config.json"
    config.write_text(found["ConfigMap"][1]["data"]["config.json"])
    async with running(settings_of(folder / "registry.db"), ManualClock()) as server:
        said = found["ConfigMap"][0]["data"] | {
            "FORGEMESH_HOST_REGISTRY": server.address,
            "FORGEMESH_HOST_TRACES": "",
            "FORGEMESH_HOST_LISTEN": "127.0.0.1:0",
            "FORGEMESH_HOST_HEALTH_LISTEN": "127.0.0.1:0",
            "FORGEMESH_HOST_CONFIG": str(config),
            "FORGEMESH_HOST_OWNER_TOKEN_FILE": str(folder / "owner-token"),
            "FORGEMESH_HOST_INSTANCE_ID": "plugin-shop-stock-v1-2-0-abc",
            "FORGEMESH_HOST_ADVERTISE": "10.1.2.3",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, *container(found)["command"][1:], env=os.environ | said
        )
        try:
            (instance,) = await eventually(lambda: registered(server.address))
            process.terminate()

            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert instance.instance_id == "plugin-shop-stock-v1-2-0-abc"
    assert instance.address.startswith("10.1.2.3:")
    assert (folder / "owner-token").exists()


async def registered(registry: str) -> list[Instance]:
    return (await catalogue(registry))[1]
