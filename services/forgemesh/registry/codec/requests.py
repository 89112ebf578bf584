"""Requests, checked by hand and all at once, as the values the registry works with."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import Counter

from semantic_version import Version

from forgemesh.api.plugin.v1 import manifest_pb2
from forgemesh.api.registry.v1 import instance_pb2, registry_service_pb2 as pb, resolution_pb2
from forgemesh.chassis.pages import key_before
from forgemesh.chassis.violations import Violations
from forgemesh.language.nesting import MAX_CHECKED
from forgemesh.language.schema_patterns import read_schema
from forgemesh.notation.names import LONGEST_NAME, fits_dotted, fits_identifier
from forgemesh.notation.version_range import LONGEST as LONGEST_RANGE, InvalidRange, VersionRange
from forgemesh.registry.codec import instances, manifests, resolutions
from forgemesh.registry.domain.instance import Claim, Instance
from forgemesh.registry.domain.leases import LONGEST, SHORTEST
from forgemesh.registry.domain.manifest import Key, Manifest, Requirement

_INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")
_SCHEMA = f"must be a JSON Schema as JSON text, nested at most {MAX_CHECKED} deep"
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")

_SAID_BY_INSTANCES = frozenset(
    (
        instance_pb2.INSTANCE_STATE_UNSPECIFIED,
        instance_pb2.INSTANCE_STATE_ACTIVE,
        instance_pb2.INSTANCE_STATE_DRAINING,
        instance_pb2.INSTANCE_STATE_CRASH_LOOP,
    )
)

SHORTEST_KEY, LONGEST_TOKEN = 16, 256
MOST_LABELS = 16 * 1024
"""Bytes of the labels of one instance: the registry tells of all instances at once."""
LONGEST_VALUE = 512
MOST_CONDITIONS = 64
MOST_PATTERNS = 1000
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


def owner_key(text: str) -> bytes:
    """The digest of the key with which a plugin is published, empty if none is shown; raises InvalidRequest."""
    found = Violations()
    rule = f"must be a secret of {SHORTEST_KEY} to {LONGEST_TOKEN} characters, or empty if the plugin has no owner"
    found.unless(not text or SHORTEST_KEY <= len(text) <= LONGEST_TOKEN, "owner_key", rule)
    found.refuse()
    return _digest(text) if text else b""


def claim(request: pb.RenewLeaseRequest | pb.DeregisterInstanceRequest) -> Claim:
    """Who speaks for which registration; raises InvalidRequest."""
    found = Violations()
    found.unless(_fits(_INSTANCE_ID, request.instance_id), "instance_id", _INSTANCE_RULE)
    found.unless(request.incarnation > 0, "incarnation", "must be the one that the registration was answered with")
    _check_token(found, request.owner_token)
    found.refuse()
    return Claim(request.instance_id, request.incarnation, _digest(request.owner_token))


def check_schemas(message: manifest_pb2.Manifest) -> None:
    """Of a manifest that is not published yet; raises InvalidRequest for patterns that could be searched for ever."""
    found = Violations()
    found.unless(_is_schema(message.config_schema), "manifest.config_schema", _SCHEMA)
    few = len(set(manifests.patterns_of(message))) <= MOST_PATTERNS
    found.unless(few, "manifest", f"must not have more than {MOST_PATTERNS} different patterns in its schemas")
    found.refuse()
    for place, cause in manifests.unreadable_patterns(message):
        found.unless(False, f"manifest.{place}", cause)
    found.refuse()


def manifest(message: manifest_pb2.Manifest) -> Manifest:
    """The manifest to publish; raises InvalidRequest."""
    found = Violations()
    found.unless(fits_dotted(message.plugin_id), "manifest.plugin_id", _NAME_RULE)
    found.unless(_is_version(message.version), "manifest.version", _VERSION_RULE)
    _check_interfaces(found, message)
    _check_dependencies(found, message)
    _check_operations(found, message)
    found.refuse()
    return manifests.from_message(message)


def requirements(request: pb.ResolvePluginsRequest) -> list[Requirement]:
    """What is wanted; raises InvalidRequest."""
    found = Violations()
    found.unless(bool(request.requirements), "requirements", "must not be empty: name what is wanted")
    for index, wanted in enumerate(request.requirements):
        _check_target(found, wanted, f"requirements[{index}]")
    found.refuse()
    return [resolutions.from_requirement(one) for one in request.requirements]


def quarantine(request: pb.SetQuarantineRequest) -> tuple[Key, str | None]:
    """The version and why it is out of use, None if it no longer is; raises InvalidRequest."""
    found = Violations()
    found.unless(fits_dotted(request.plugin_id), "plugin_id", _NAME_RULE)
    found.unless(_is_version(request.version), "version", _VERSION_RULE)
    said = 0 < len(request.reason) <= LONGEST_VALUE or not request.quarantined
    found.unless(said, "reason", f"must say in 1 to {LONGEST_VALUE} characters why")
    found.refuse()
    return (request.plugin_id, request.version), request.reason if request.quarantined else None


def pin(request: pb.PinVersionRequest) -> tuple[str, str]:
    """The plugin and the range that it is held to; raises InvalidRequest."""
    found = Violations()
    found.unless(fits_dotted(request.plugin_id), "plugin_id", _NAME_RULE)
    _check_range(found, request.version_range, "version_range")
    found.refuse()
    return request.plugin_id, request.version_range


def search(request: pb.FindProvidersRequest) -> None:
    """Refuse a search that cannot be meant; raises InvalidRequest."""
    found = Violations()
    _check_target(found, request.requirement, "requirement")
    conditions = [(f"must[{index}]", one) for index, one in enumerate(request.must)]
    conditions += [(f"prefer[{index}].condition", one.condition) for index, one in enumerate(request.prefer)]
    few = len(conditions) <= MOST_CONDITIONS
    found.unless(few, "must", f"must be, with prefer, at most {MOST_CONDITIONS} conditions")
    for at, condition in conditions:
        said = bool(condition.label.key or condition.operation or condition.zone)
        found.unless(said, at, "must name a label, an operation or a zone")
    for index, preference in enumerate(request.prefer):
        found.unless(preference.weight <= MOST_WEIGHT, f"prefer[{index}].weight", f"must be at most {MOST_WEIGHT}")
    found.unless(request.limit >= 0, "limit", "must not be negative")
    found.refuse()


def wish(request: pb.RequestPluginRequest) -> tuple[str, str]:
    """The plugin or, if that is empty, the interface that is wanted; raises InvalidRequest."""
    found = Violations()
    one = bool(request.plugin_id) != bool(request.interface_name)
    found.unless(one, "plugin_id", "set either this or interface_name")
    found.unless(fits_dotted(request.plugin_id or request.interface_name), "plugin_id", _NAME_RULE)
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
    found.unless(fits_dotted(instance.plugin_id), "instance.plugin_id", _NAME_RULE)
    found.unless(_is_version(instance.plugin_version), "instance.plugin_version", _VERSION_RULE)
    found.unless(_is_address(instance.address), "instance.address", _ADDRESS_RULE)
    health = instance.health_address or instance.address
    found.unless(_is_address(health), "instance.health_address", _ADDRESS_RULE)
    found.unless(instance.weight <= MOST_WEIGHT, "instance.weight", f"must be at most {MOST_WEIGHT}")
    found.unless(len(instance.zone) <= LONGEST_NAME, "instance.zone", f"must have at most {LONGEST_NAME} characters")
    for key, value in instance.labels.items():
        short = 0 < len(key) <= LONGEST_NAME and len(value) <= LONGEST_VALUE
        rule = f"a key has 1 to {LONGEST_NAME} characters, a value at most {LONGEST_VALUE}"
        found.unless(short, f"instance.labels[{key[:LONGEST_NAME]}]", rule)
    labels = sum(len(key.encode()) + len(value.encode()) for key, value in instance.labels.items())
    found.unless(labels <= MOST_LABELS, "instance.labels", f"must have at most {MOST_LABELS} bytes together")
    found.unless(instance.state in _SAID_BY_INSTANCES, "instance.state", "must be ACTIVE, DRAINING or CRASH_LOOP")
    short = len(instance.state_reason) <= LONGEST_VALUE
    found.unless(short, "instance.state_reason", f"must have at most {LONGEST_VALUE} characters")


def _check_token(found: Violations, token: str) -> None:
    rule = f"must be a secret of 1 to {LONGEST_TOKEN} characters, made up at the start of the instance"
    found.unless(0 < len(token) <= LONGEST_TOKEN, "owner_token", rule)


def _check_interfaces(found: Violations, message: manifest_pb2.Manifest) -> None:
    names = Counter(interface.name for interface in message.provides)
    for index, interface in enumerate(message.provides):
        at = f"manifest.provides[{index}]"
        found.unless(fits_dotted(interface.name), f"{at}.name", _NAME_RULE)
        found.unless(_is_version(interface.version), f"{at}.version", _VERSION_RULE)
        found.unless(names[interface.name] == 1, f"{at}.name", f"{interface.name!r} must occur once")


def _check_dependencies(found: Violations, message: manifest_pb2.Manifest) -> None:
    targets = Counter((one.plugin_id, one.interface_name) for one in message.dependencies)
    for index, dependency in enumerate(message.dependencies):
        at = f"manifest.dependencies[{index}]"
        _check_target(found, dependency, at)
        target = dependency.plugin_id or dependency.interface_name
        once = targets[dependency.plugin_id, dependency.interface_name] == 1
        found.unless(once, f"{at}.target", f"{target!r} must occur once; a range may have several parts, e.g. >=1 <3")
        itself = bool(message.plugin_id) and dependency.plugin_id == message.plugin_id
        found.unless(not itself, f"{at}.target", f"{message.plugin_id!r} must not depend on itself")
        known = dependency.on_loss in manifest_pb2.OnLoss.values()
        found.unless(known, f"{at}.on_loss", "must be IGNORE, DEGRADE or STOP")


def _check_target(found: Violations, message: manifest_pb2.Dependency | resolution_pb2.Requirement, at: str) -> None:
    """What is wanted has a name and a range."""
    found.unless(fits_dotted(message.plugin_id or message.interface_name), f"{at}.target", _NAME_RULE)
    _check_range(found, message.version_range, f"{at}.version_range")


def _check_range(found: Violations, version_range: str, at: str) -> None:
    try:
        VersionRange.of(version_range)
        found.unless(len(version_range) <= LONGEST_RANGE, at, f"must have at most {LONGEST_RANGE} characters")
    except InvalidRange as error:
        found.unless(False, at, str(error))


def _check_operations(found: Violations, message: manifest_pb2.Manifest) -> None:
    names = Counter(operation.name for operation in message.operations)
    found.unless(bool(names), "manifest.operations", "must not be empty")
    for index, operation in enumerate(message.operations):
        at = f"manifest.operations[{index}]"
        found.unless(fits_identifier(operation.name), f"{at}.name", "must be an identifier")
        found.unless(names[operation.name] == 1, f"{at}.name", f"{operation.name!r} must occur once")
        known = operation.idempotency in manifest_pb2.Idempotency.values()
        found.unless(known, f"{at}.idempotency", "must be IDEMPOTENT, NOT_IDEMPOTENT or unset")
        for side in ("input_schema", "output_schema"):
            found.unless(_is_schema(getattr(operation, side)), f"{at}.{side}", _SCHEMA)


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
    try:
        read_schema(text or "{}")
    except ValueError:
        return False
    return True


def _digest(token: str) -> bytes:
    """What is kept of the owner's secret."""
    return hashlib.sha256(token.encode()).digest()
