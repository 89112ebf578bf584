import json
import unicodedata

from hypothesis import given, strategies as st

from forgemesh.chassis.foreign_text import printable, printable_json

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)


@given(TEXTS)
def test_every_text_becomes_one_printable_line_of_its_length(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(after in (before, " ") for before, after in zip(text, shown, strict=True))


@given(TEXTS)
def test_json_becomes_printable_and_means_the_same(text: str) -> None:
    for indent in (None, 2):
        shown = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=indent))

        assert shown.replace("\n", "").isprintable()
        assert json.loads(shown) == json.loads(json.dumps({text: [text]}))


def test_what_people_read_stays_as_it_is() -> None:
    text = "Grüße, 你好, שלום, ✓ 👍 é"

    assert printable(text) == text
    assert printable_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


def test_nothing_passes_that_moves_turns_or_hides() -> None:
    bad = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zl", "Zp", "Cs")]

    assert printable("".join(bad)).strip() == ""
    assert "\x9b" in bad
    assert "\u202e" in bad
