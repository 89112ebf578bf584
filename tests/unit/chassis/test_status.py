import base64
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, strategies as st

from forgemesh.api.errors.v1.error_reason_pb2 import ErrorReason
from forgemesh.chassis.status import MAX_TRAILERS, from_status, rpc_status_of, to_status
from forgemesh.faults import Code, Fault, ForeignFault, Violation, code_of, reason_of
from forgemesh.faults.service import InvalidRequest
from tests.unit.chassis.faults import every_class, sample

HOSTILE = [
    "x" * 100_000,
    "\N{SNOWMAN}" * 100_000,
    "\U0001f600" * 100_000,
    "%" * 100_000,
    "\x1b[2J\r\n\x00" * 10_000,
    "\ud800" * 10_000,
]


def trailers_of(fault: Fault) -> int:
    """Bytes of trailing metadata as HTTP/2 counts them: name, value and 32 for each entry."""
    status = rpc_status_of(fault)
    entries = {"content-type": "application/grpc", "grpc-status": "16", "grpc-message": quote(status.details)}
    entries |= {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in status.trailing_metadata
    }
    return sum(len(name) + len(value) + 32 for name, value in entries.items())


def test_the_reasons_of_faults_are_those_of_the_api() -> None:
    listed = {name.removeprefix("ERROR_REASON_") for name in list(ErrorReason.keys())}

    assert set(Fault.by_reason) == listed - {"UNSPECIFIED"}


@pytest.mark.parametrize("cls", every_class())
def test_a_fault_comes_back_as_it_was_raised(cls: type[Fault]) -> None:
    fault = sample(cls)

    back = from_status(to_status(fault))

    assert type(back) is cls
    assert (back.message, back.metadata) == (fault.message, fault.metadata)
    assert (back.violations, back.retry_after) == (fault.violations, fault.retry_after)
    assert str(back) == str(fault)


@pytest.mark.parametrize("cls", every_class())
def test_every_word_that_varies_in_a_message_is_in_the_metadata(cls: type[Fault]) -> None:
    fault = sample(cls, "peculiar")

    assert ("peculiar" in fault.message) <= ("peculiar" in " ".join(fault.metadata.values()))


@pytest.mark.parametrize("cls", every_class())
def test_a_fault_is_no_success_and_its_message_is_one_line(cls: type[Fault]) -> None:
    fault = sample(cls)

    assert fault.code is not Code.OK
    assert fault.message.isprintable()
    assert fault.message == fault.message.strip()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("cls", every_class())
def test_whatever_a_fault_says_fits_into_trailers_and_is_printable(cls: type[Fault], text: str) -> None:
    fault = sample(cls, text)

    assert trailers_of(fault) < MAX_TRAILERS
    back = from_status(to_status(fault))
    assert type(back) is cls
    assert back.metadata.keys() == fault.metadata.keys()
    assert all(value.isprintable() for value in (back.message, *back.metadata.values()))


@given(
    message=st.text(max_size=3000),
    metadata=st.dictionaries(st.text(max_size=100), st.text(max_size=3000), max_size=40),
    violations=st.lists(st.builds(Violation, st.text(max_size=500), st.text(max_size=2000)), max_size=60),
)
def test_any_fault_fits_into_trailers(message: str, metadata: dict[str, str], violations: list[Violation]) -> None:
    fault = ForeignFault(Code.ABORTED, "SOMETHING", message, metadata, violations=violations, retry_after=1.0)

    assert trailers_of(fault) < MAX_TRAILERS


def test_what_is_too_long_is_cut_with_a_mark() -> None:
    back = from_status(to_status(ForeignFault(Code.ABORTED, "X", "m" * 5000, {"key": "v" * 5000})))

    assert back.message.startswith("m" * 1000)
    assert back.message.endswith("…")
    assert back.metadata["key"].endswith("…")


def test_violations_beyond_the_room_are_counted() -> None:
    fault = InvalidRequest([Violation(f"steps[{number}]", "is not known " * 20) for number in range(100)])

    told = from_status(to_status(fault)).violations

    shown = len(told) - 1
    assert shown >= 5
    assert [violation.field for violation in told[:-1]] == [f"steps[{number}]" for number in range(shown)]
    assert told[-1].message == f"{100 - shown} more violations are not listed here"


def test_a_dozen_ordinary_violations_are_all_told() -> None:
    violations = [Violation(f"steps[{n}].call.plugin", f"line {n}, column 5: no plugin 'weather.x'") for n in range(12)]

    assert from_status(to_status(InvalidRequest(violations))).violations == tuple(violations)


def test_a_reason_of_somebody_else_stays_as_it_came() -> None:
    status = status_pb2.Status(code=9, message="not now")
    info = error_details_pb2.ErrorInfo(reason="STORE_UNAVAILABLE", domain="example.com", metadata={"a": "b"})
    status.details.add().Pack(info)

    fault = from_status(status)

    assert isinstance(fault, ForeignFault)
    assert (code_of(fault), reason_of(fault)) == (Code.FAILED_PRECONDITION, "STORE_UNAVAILABLE")
    assert (fault.message, fault.metadata) == ("not now", {"a": "b"})


def test_a_reason_of_a_newer_release_stays_as_it_came_and_goes_on_unchanged() -> None:
    status = to_status(ForeignFault(Code.ABORTED, "FROM_THE_FUTURE", "later", {"a": "b"}, retry_after=2.0))

    fault = from_status(status)

    assert isinstance(fault, ForeignFault)
    assert to_status(fault) == status
    assert fault.retry_after == 2.0


def test_a_status_without_details_is_named_by_its_code() -> None:
    fault = from_status(status_pb2.Status(code=7, message="no"))

    assert (code_of(fault), reason_of(fault)) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")


def test_two_faults_cannot_have_one_reason() -> None:
    with pytest.raises(TypeError, match="STORE_UNAVAILABLE belongs to StoreUnavailable"):
        type("Second", (Fault,), {"reason": "STORE_UNAVAILABLE", "code": Code.ABORTED})
