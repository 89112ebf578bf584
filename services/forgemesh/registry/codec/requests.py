"""Requests, checked by hand and all at once, as the values the registry works with."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re

from semantic_version import Version

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb
from forgemesh.chassis.pages import key_before
from forgemesh.chassis.violations import Violations
from forgemesh.registry.codec import instances, manifests
from forgemesh.registry.domain.catalogue import Key, Manifest
from forgemesh.registry.domain.instance import Claim, Instance
from forgemesh.registry.domain.leases import LONGEST, SHORTEST

_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")
_INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")
_OPERATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")

_SAID_BY_INSTANCES = frozenset(
    (
        instance_pb2.INSTANCE_STATE_UNSPECIFIED,
        instance_pb2.INSTANCE_STATE_ACTIVE,
        instance_pb2.INSTANCE_STATE_DRAINING,
        instance_pb2.INSTANCE_STATE_CRASH_LOOP,
    )
)

LONGEST_NAME = 128
LONGEST_TOKEN = 256
LONGEST_VALUE = 512
MOST_LABELS = 64
MOST_WEIGHT = 10_000

_NAME_RULE = f"must be a dotted lower-case name of at most {LONGEST_NAME} characters, e.g. weather.stats"
_INSTANCE_RULE = f"must be 1 to {LONGEST_NAME} letters, digits and any of . _ - : @, the first a letter or digit"
_VERSION_RULE = "must be a SemVer 2.0 version, e.g. 1.2.0"
_ADDRESS_RULE = "must be host:port with a port from 1 to 65535, e.g. 127.0.0.1:7001 or [::1]:7001"


def registration(request: pb.RegisterInstanceRequest, *, default_ttl: float) -> tuple[Instance, bytes, float]:
    """The instance, the digest of its owner's secret and its lease time; raises InvalidRequest."""
    found = Violations()
    _check_instance(found, request.instance)
    _check_token(found, request.owner_token)
    ttl = request.ttl.ToMicroseconds() / 1e6 if request.HasField("ttl") else default_ttl
    found.unless(SHORTEST <= ttl <= LONGEST, "ttl", f"must lie between {SHORTEST:g} s and {LONGEST:g} s")
    found.refuse()
    return instances.from_message(request.instance), _digest(request.owner_token), ttl


def claim(request: pb.RenewLeaseRequest | pb.DeregisterInstanceRequest) -> Claim:
    """Who speaks for which registration; raises InvalidRequest."""
    found = Violations()
    found.unless(_fits(_INSTANCE_ID, request.instance_id), "instance_id", _INSTANCE_RULE)
    found.unless(request.incarnation > 0, "incarnation", "must be the one that the registration was answered with")
    _check_token(found, request.owner_token)
    found.refuse()
    return Claim(request.instance_id, request.incarnation, _digest(request.owner_token))


def manifest(message: manifest_pb2.Manifest) -> Manifest:
    """The manifest to publish; raises InvalidRequest."""
    found = Violations()
    found.unless(_fits(_NAME, message.plugin_id), "manifest.plugin_id", _NAME_RULE)
    found.unless(_is_version(message.version), "manifest.version", _VERSION_RULE)
    for index, interface in enumerate(message.provides):
        at = f"manifest.provides[{index}]"
        found.unless(_fits(_NAME, interface.name), f"{at}.name", _NAME_RULE)
        found.unless(_is_version(interface.version), f"{at}.version", _VERSION_RULE)
    for index, dependency in enumerate(message.dependencies):
        target = dependency.plugin_id or dependency.interface_name
        found.unless(_fits(_NAME, target), f"manifest.dependencies[{index}].target", _NAME_RULE)
    _check_operations(found, message)
    found.refuse()
    return manifests.from_message(message)


def wish(request: pb.RequestPluginRequest) -> tuple[str, str]:
    """The plugin or, if that is empty, the interface that is wanted; raises InvalidRequest."""
    found = Violations()
    one = bool(request.plugin_id) != bool(request.interface_name)
    found.unless(one, "plugin_id", "set either this or interface_name")
    found.unless(_fits(_NAME, request.plugin_id or request.interface_name), "plugin_id", _NAME_RULE)
    found.refuse()
    return request.plugin_id, request.interface_name


def page_of_plugins(token: str) -> Key | None:
    """The last manifest of the page before; raises InvalidRequest."""
    key = key_before(token, 2)
    if key is None:
        return None
    found = Violations()
    found.unless(_is_version(key[1]), "page_token", "must come from an earlier response")
    found.refuse()
    return key[0], key[1]


def page_of_instances(token: str) -> str:
    """The last instance id of the page before; raises InvalidRequest."""
    key = key_before(token, 1)
    return key[0] if key else ""


def _check_instance(found: Violations, instance: instance_pb2.Instance) -> None:
    found.unless(_fits(_INSTANCE_ID, instance.instance_id), "instance.instance_id", _INSTANCE_RULE)
    found.unless(_fits(_NAME, instance.plugin_id), "instance.plugin_id", _NAME_RULE)
    found.unless(_is_version(instance.plugin_version), "instance.plugin_version", _VERSION_RULE)
    found.unless(_is_address(instance.address), "instance.address", _ADDRESS_RULE)
    health = instance.health_address or instance.address
    found.unless(_is_address(health), "instance.health_address", _ADDRESS_RULE)
    found.unless(instance.weight <= MOST_WEIGHT, "instance.weight", f"must be at most {MOST_WEIGHT}")
    found.unless(len(instance.zone) <= LONGEST_NAME, "instance.zone", f"must have at most {LONGEST_NAME} characters")
    found.unless(len(instance.labels) <= MOST_LABELS, "instance.labels", f"must be at most {MOST_LABELS}")
    for key, value in instance.labels.items():
        short = 0 < len(key) <= LONGEST_NAME and len(value) <= LONGEST_VALUE
        rule = f"a key has 1 to {LONGEST_NAME} characters, a value at most {LONGEST_VALUE}"
        found.unless(short, f"instance.labels[{key[:LONGEST_NAME]}]", rule)
    found.unless(instance.state in _SAID_BY_INSTANCES, "instance.state", "must be ACTIVE, DRAINING or CRASH_LOOP")
    short = len(instance.state_reason) <= LONGEST_VALUE
    found.unless(short, "instance.state_reason", f"must have at most {LONGEST_VALUE} characters")


def _check_token(found: Violations, token: str) -> None:
    rule = f"must be a secret of 1 to {LONGEST_TOKEN} characters, made up at the start of the instance"
    found.unless(0 < len(token) <= LONGEST_TOKEN, "owner_token", rule)


def _check_operations(found: Violations, message: manifest_pb2.Manifest) -> None:
    names = [operation.name for operation in message.operations]
    found.unless(bool(names), "manifest.operations", "must not be empty")
    for index, operation in enumerate(message.operations):
        at = f"manifest.operations[{index}]"
        found.unless(_fits(_OPERATION, operation.name), f"{at}.name", "must be an identifier")
        found.unless(names.count(operation.name) == 1, f"{at}.name", f"{operation.name!r} must occur once")
        for side in ("input_schema", "output_schema"):
            found.unless(_is_schema(getattr(operation, side)), f"{at}.{side}", "must be a JSON Schema as JSON text")


def _fits(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= LONGEST_NAME and pattern.fullmatch(text) is not None


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except ValueError:
        return False
    return len(text) <= LONGEST_NAME


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535 and len(host) <= 255):
        return False
    if host.startswith("["):
        return host.endswith("]") and _is_ipv6(host[1:-1])
    return _HOST.fullmatch(host) is not None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_schema(text: str) -> bool:
    if not text:
        return True
    try:
        return isinstance(json.loads(text), dict | bool)
    except ValueError:
        return False


def _digest(token: str) -> bytes:
    """What is kept of the owner's secret."""
    return hashlib.sha256(token.encode()).digest()
