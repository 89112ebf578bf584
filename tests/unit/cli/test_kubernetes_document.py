import re
from typing import Any

import yaml
from hypothesis import given, strategies as st

from forgemesh.cli.kubernetes.document import document_of

TEXTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(re.compile(r"[-+]?[0-9.xobeE_:]{1,12}"), fullmatch=True),
    st.sampled_from(
        ["y", "N", "on", "Yes", "null", "~", "1e3", "0o14", "1_000", "12:30", ".inf", "- a", "a: b", "a #b"]
    ),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**31), 2**31)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1, max_size=3))
def test_what_is_written_is_read_as_it_was_in_printable_ascii(objects: list[dict[str, Any]]) -> None:
    written = document_of(objects)

    assert list(yaml.safe_load_all(written)) == objects
    assert all(one == "\n" or (one.isascii() and one.isprintable()) for one in written)


@given(TEXTS)
def test_no_text_stands_there_as_what_another_reader_takes_for_a_number_or_a_switch(text: str) -> None:
    line = document_of([{"key": text}]).removeprefix("---\nkey: ").rstrip("\n")

    quoted = line.startswith('"')
    assert quoted or re.match(r"[A-Za-z/]", line)
    assert quoted or line.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf")


def test_one_value_in_two_places_is_written_twice() -> None:
    shared = {"a": "b"}

    assert document_of([{"one": shared, "two": shared}]) == "---\none:\n  a: b\ntwo:\n  a: b\n"
