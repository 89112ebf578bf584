import json
import random

import pytest
from hypothesis import given, strategies as st

from forgemesh.language.nesting import MAX_DEPTH, check_depth, is_too_deep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\ax\u00e9\u2028', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    """As one would say it."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(JSON, st.integers(0, 8), st.booleans(), st.sampled_from([None, 1]))
def test_a_value_is_as_deep_as_it_is(value: object, limit: int, escaped: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)

    assert is_too_deep(text.encode(), limit) == (depth_of(value) > limit)


@pytest.mark.parametrize("depth", [0, 1, MAX_DEPTH])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"]":"}","b\\"":', "}")])
def test_up_to_the_limit_all_is_well(depth: int, opening: str, closing: str) -> None:
    check_depth(opening * depth + "1" + closing * depth)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 1),
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 251 + "1" + "}" * 251,
        '{"\\"]]]":["}]",' * 200,
        '["]","]",' * 300,
        '["\\\\","]",' * 300,
        "[]" * 300 + "[" * 251,
    ],
)
def test_what_is_deeper_is_refused_whether_it_is_valid_or_not(text: str) -> None:
    with pytest.raises(ValueError, match="nested deeper than 250"):
        check_depth(text)


def test_breadth_is_no_depth() -> None:
    check_depth(json.dumps([[{"a": []}] * 10] * 10_000))
    check_depth(json.dumps(["[{" * 1000, '"[\\"' * 1000]))


def test_a_parser_never_goes_deeper_into_broken_text_than_was_said() -> None:
    """Whatever stands in it, what is valid before the first mistake is what counts."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(2000):
        text = "".join(draw.choices(['"', "\\", "[", "]", "{", "}", '"a":', "1", ",", " "], k=draw.randrange(40)))
        reached = depth_before_the_mistake(text)
        assert reached == 0 or is_too_deep(text.encode(), reached - 1), text


def depth_before_the_mistake(text: str) -> int:
    """How many lists and objects a strict reader has open at most before it stops."""
    deepest = depth = position = 0
    decoder = json.JSONDecoder()
    while position < len(text):
        character = text[position]
        if character == '"':
            try:
                _, position = decoder.raw_decode(text, position)
            except ValueError:
                return deepest
            continue
        if character == "\\":
            return deepest
        depth += (character in "[{") - (character in "]}")
        if depth < 0:
            return deepest
        deepest = max(deepest, depth)
        position += 1
    return deepest
