from forgemesh.api.payload.v1.payload_pb2 import Payload
from forgemesh.chassis.channel import SESSION_LIMIT
from forgemesh.chassis.pages import MAX_BYTES, fitting, size_in_list


def test_as_many_entries_as_fit_are_a_page() -> None:
    entries = [Payload(data=b"x" * 1000) for _ in range(5)]

    assert len(fitting(entries, 3 * size_in_list(entries[0]))) == 3
    assert len(fitting(entries, 3 * size_in_list(entries[0]) - 1)) == 2
    assert fitting([], 10) == []


def test_one_entry_is_given_however_large_it_is() -> None:
    entries = [Payload(data=b"x" * 1000), Payload()]

    assert fitting(entries, 10) == entries[:1]


def test_a_page_fits_into_a_message() -> None:
    assert MAX_BYTES < SESSION_LIMIT
