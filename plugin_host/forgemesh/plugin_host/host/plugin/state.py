"""What a plugin leaves for its successor, as it travels."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from forgemesh.api.payload.v1 import payload_pb2
from forgemesh.api.supervisor.v1 import attach_pb2
from forgemesh.language.nesting import check_depth
from forgemesh.plugin import Payload
from forgemesh.plugin.payload import JSON, written

MAX_STATE = 3 * 1024 * 1024


class StateTooLarge(Exception):
    """A state does not fit into a message."""


def saved_state(state: Any) -> payload_pb2.Payload:
    """A state as a payload; raises what a value that is no JSON raises, and StateTooLarge."""
    state = written(state)
    if len(state.data) > MAX_STATE:
        raise StateTooLarge(f"the state has {len(state.data)} bytes, at most {MAX_STATE} can be handed over")
    return payload_pb2.Payload(media_type=state.media_type, data=state.data, metadata=state.metadata)


def restored_arguments(hook: Callable[..., Any], state: attach_pb2.SavedState) -> tuple[Any, str]:
    """
    What `restore_state(state, version)` gets: the state as the type of its annotation, and who wrote it.

    Raises ValueError if it does not fit.
    """
    wanted = _annotated(hook)
    carried = state.payload
    if wanted is Payload:
        value: Any = Payload(carried.data, carried.media_type or JSON, dict(carried.metadata))
    else:
        check_depth(carried.data)
        value = msgspec.json.decode(carried.data, type=wanted)
    return value, state.plugin_version


def _annotated(hook: Callable[..., Any]) -> Any:
    names = list(inspect.signature(hook).parameters)
    return typing.get_type_hints(hook).get(names[0], Any) if names else Any
