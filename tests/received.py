"""Every message that a process of the mesh receives, and messages that hold so many of one thing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from forgemesh.api.orchestrator.v1 import control_pb2
from forgemesh.api.plugin.v1 import load_pb2, plugin_service_pb2, session_pb2
from forgemesh.bounds import ALONE
from tests.architecture.repository import GENERATED

Path: TypeAlias = tuple[FieldDescriptor, ...]


class Container(NamedTuple):
    """A list or a map in messages of a type, by the fields that lead to it, itself the last."""

    root: Descriptor
    path: Path

    @property
    def field(self) -> FieldDescriptor:
        return self.path[-1]

    def __str__(self) -> str:
        return f"{self.root.name}:{'.'.join(one.name for one in self.path)}"


@cache
def methods() -> tuple[MethodDescriptor, ...]:
    """Of every service that a process of the mesh serves."""
    folder = GENERATED / "forgemesh" / "api"
    files = [path.relative_to(GENERATED) for path in sorted(folder.rglob("*_service_pb2.py"))]
    ours = [importlib.import_module(".".join(file.with_suffix("").parts)) for file in files]
    served = [*ours, trace_service_pb2, health_pb2, reflection_pb2]
    services = [service for module in served for service in module.DESCRIPTOR.services_by_name.values()]
    return tuple(method for service in services for method in service.methods)


@cache
def roots() -> tuple[Descriptor, ...]:
    """Types of messages that come from other processes: requests, answers of plugins, files of executions."""
    answers = (session_pb2.SessionResponse, plugin_service_pb2.InvokeResponse, load_pb2.LoadReport)
    found: list[Any] = [method.input_type for method in methods()]
    found += [one.DESCRIPTOR for one in (*answers, control_pb2.ExecutionArchive)]
    found += [place.field.message_type for root in found for place in places_in(root) if _is_alone(place)]
    return tuple({one.full_name: one for one in found}.values())


@cache
def places_in(root: Descriptor) -> tuple[Container, ...]:
    """Each list and each map that messages of the type can hold, once."""
    return tuple(_places(root))


def holding(place: Container, count: int) -> Any:
    """A message with so many entries in one place."""
    message = GetMessageClass(place.root)()
    holder = message
    for one in place.path[:-1]:
        inner = getattr(holder, one.name)
        if not one.is_repeated:
            inner.SetInParent()
        elif is_map(one):
            inner = inner["0"]
        else:
            inner = inner.add()
        holder = inner
    fill(holder, place.field, count)
    return message


def fill(holder: Any, field: FieldDescriptor, count: int) -> None:
    """Put so many entries into a list or a map."""
    entries = getattr(holder, field.name)
    if is_map(field):
        assert field.message_type is not None
        value = field.message_type.fields_by_name["value"]
        for number in range(count):
            if value.message_type is not None:
                entries[str(number)].SetInParent()
            else:
                entries[str(number)] = value.default_value
    elif field.message_type is not None:
        for _ in range(count):
            entries.add()
    else:
        empty: Any = {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b""}.get(field.type, 0)
        entries.extend([empty] * count)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _places(root: Descriptor) -> Iterator[Container]:
    """Nearest first."""
    seen = {root.full_name}
    following: list[tuple[Descriptor, Path]] = [(root, ())]
    while following:
        holder, path = following.pop(0)
        for field in holder.fields:
            place = Container(root, (*path, field))
            if field.is_repeated:
                yield place
            inner = field.message_type
            if inner is not None and is_map(field):
                inner = inner.fields_by_name["value"].message_type
            if inner is not None and inner.full_name not in seen and not _is_alone(place):
                seen.add(inner.full_name)
                following.append((inner, place.path))


def _is_alone(place: Container) -> bool:
    return place.field.full_name in ALONE
