"""What one process raises another one catches, with everything that it says."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from forgemesh import client, plugin, testing
from forgemesh.api.errors.v1.failure_pb2 import Failure
from forgemesh.chassis.next_command import unreachable
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem
from forgemesh.client import ExecutionFailed
from forgemesh.faults import Code, Fault, ForeignFault, Violation
from forgemesh.faults.portable import PortableError
from forgemesh.faults.workflow import PayloadTooLarge
from forgemesh.plugin import ConfigurationError, OperationError, PluginDefinitionError
from forgemesh.testing import PluginDidNotStart, PluginEnded, Refused

SPAWNED = multiprocessing.get_context("spawn")


class OutOfStock(OperationError):
    """As an author would write it: with a constructor of its own."""

    def __init__(self, article: int, *, left: int) -> None:
        super().__init__("OUT_OF_STOCK", f"{left} of article {article} are left", metadata={"left": str(left)})
        self.article = article


FAILURE = Failure(reason="FILE_NOT_FOUND", message="no such file", step_path="read", code=5)
MADE: list[PortableError] = [
    unreachable("orchestrator", "127.0.0.1:9", "connection refused"),
    PayloadTooLarge("the request", 5, 4),
    Fault("it is wrong", {"field": "a"}, violations=[Violation("a", "it is too long")], retry_after=2.0),
    ForeignFault(Code.ABORTED, "ODD", "it is odd", {"by": "1"}),
    OperationError("EMPTY", "nothing is there", retryable=True, code=Code.UNAVAILABLE, retry_after=3.0),
    OutOfStock(7, left=2),
    PluginDefinitionError("class Greeter", ["it has no operation"]),
    ConfigurationError(["width: it is no number", "height: it is missing"]),
    ExecutionFailed("e1", FAILURE, client.Status.CANCELLED, ["charge"]),
    Refused("workflow", "DEFINITION_INVALID", "it is wrong", ["line 3: no such step"]),
    PluginDidNotStart(3, 5.0, ["no module named greeter"]),
    PluginEnded(-9, ["killed"]),
    Problem(ExitCode.USAGE, "no such file", reason="USAGE", details=["a.toml"], hint="look again"),
]


def raises(error: Exception) -> None:
    raise error


def told(error: BaseException) -> tuple[object, ...]:
    return type(error), str(error), error.args, vars(error)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("handed_on", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_what_is_handed_on_says_the_same(error: PortableError, handed_on: Callable[[Exception], Exception]) -> None:
    assert told(handed_on(error)) == told(error)


def test_what_a_pool_of_processes_raises_arrives_and_the_pool_goes_on() -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWNED) as pool:
        arrived = [pool.submit(raises, error).exception(timeout=60) for error in MADE]

    assert [(type(error), str(error)) for error in arrived] == [(type(error), str(error)) for error in MADE]


def public_exceptions() -> Iterator[type[BaseException]]:
    """Those that people catch or raise themselves, and every fault."""
    for package in (client, plugin, testing):
        for name in package.__all__:
            found = getattr(package, name)
            if isinstance(found, type) and issubclass(found, BaseException):
                yield found
    yield from Fault.by_reason.values()


@pytest.mark.parametrize("kind", sorted(set(public_exceptions()), key=str))
def test_every_exception_with_a_constructor_of_its_own_can_be_handed_on(kind: type[BaseException]) -> None:
    plain = kind.__init__ in (Exception.__init__, BaseException.__init__)
    assert plain or issubclass(kind, PortableError)
