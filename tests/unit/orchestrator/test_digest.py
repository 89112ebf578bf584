import itertools

from hypothesis import given, strategies as st

from forgemesh.orchestrator.values.digest import Part, digest, is_digest, text_of

ATOMS: list[Part] = [
    None,
    False,
    True,
    0,
    1,
    -1,
    "",
    "0",
    "1",
    "a",
    "s1;",
    "\0",
    b"",
    b"0",
    b"a",
    (),
    ("a",),
    (("a",),),
]
PARTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


def typed(part: Part) -> object:
    """Equal only for equal values of equal types."""
    return [typed(one) for one in part] if isinstance(part, tuple) else (type(part), part)


def test_values_of_different_types_are_different() -> None:
    assert len({digest(one) for one in ATOMS}) == len(ATOMS)


def test_no_two_lists_of_parts_are_taken_for_each_other() -> None:
    pairs = list(itertools.product(ATOMS, repeat=2))

    assert len({digest(*pair) for pair in pairs} | {digest(one) for one in ATOMS}) == len(pairs) + len(ATOMS)


@given(PARTS, PARTS)
def test_equal_digests_are_of_equal_parts(one: Part, other: Part) -> None:
    assert (digest(one) == digest(other)) == (typed(one) == typed(other))


def test_what_an_older_release_kept_is_told_apart() -> None:
    assert is_digest(text_of("a"))
    assert not is_digest(digest("a").hex())
