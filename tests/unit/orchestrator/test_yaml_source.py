import random

import pytest

from forgemesh.faults.workflow import DefinitionInvalid
from forgemesh.orchestrator.workflow.parse.fields import Place
from forgemesh.orchestrator.workflow.yaml.source import MAX_BYTES, Document, read_document


def refusal(text: str) -> str:
    with pytest.raises(DefinitionInvalid) as invalid:
        read_document(text)
    (violation,) = invalid.value.violations
    return violation.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("1.0.0", "1.0.0"),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ('"\\u00e9\\t"', "é\t"),
        ("|\n a\n b\n", "a\nb\n"),
        (">\n a\n b\n", "a b\n"),
    ],
)
def test_plain_words_mean_what_the_core_schema_says(text: str, value: object) -> None:
    tree = read_document(f"k: {text}").tree

    assert tree == {"k": value}
    assert isinstance(tree, dict)
    assert type(tree["k"]) is type(value)


def test_every_json_text_means_what_it_means_as_json() -> None:
    text = '{"a":\t[1, 1e5, -0.5, true, null, "\\u00e9\\/\\ud83d\\ude00"],\n\t"b": {"": "x"}}'

    assert read_document(text).tree == {"a": [1, 100000.0, -0.5, True, None, "é/😀"], "b": {"": "x"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: 1\nb: &x 2", "line 2, column 4: anchors and aliases"),
        ("&x a: 1", "line 1, column 1: anchors and aliases"),
        ("a: {b: 1}\n*x : 1", "line 2, column 1: anchors and aliases"),
        ("a: !!python/object/apply:os.system [x]", "line 1, column 4: the tag tag:yaml.org,2002:python/object"),
        ("a: !!python/name:str x", "line 1, column 4: the tag"),
        ("!!set {a, b}", "line 1, column 1: the tag"),
        ("a: !own {b: 1}", "line 1, column 4: the tag !own"),
        ("a: !!int x", "line 1, column 4: the tag"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands here twice"),
        ('{"a": 1, "a": 2}', "line 1, column 10: the key 'a' stands here twice"),
        ("a: {<<: {b: 1}}", "line 1, column 5: keys are plain texts"),
        ("[a]: 1", "line 1, column 1: keys are plain texts"),
        ("? {a: 1}\n: 1", "line 1, column 3: keys are plain texts"),
        ("a: .nan", "line 1, column 4: numbers are finite"),
        ("a: -.inf", "line 1, column 4: numbers are finite"),
        ("a: 1e999", "line 1, column 4: numbers are finite"),
        (f"a: {'9' * 5000}", "line 1, column 4: numbers have at most 1000 digits"),
        ("a: 1\n---\nb: 2", "line 2, column 1: the text holds more than one document"),
        ("a: [1, 2\nb: 3", "line 2, column 2: did not find expected ',' or ']'"),
        ("a: 'x", "line 1, column 6: found unexpected end of stream"),
        ("a: \x00", "not valid YAML: unacceptable character #x0000"),
        ("a: \x07", "not valid YAML: unacceptable character #x0007"),
        ("\ta: 1", "line 1, column 1: found character that cannot start any token"),
        ('{"a": "\\ud800"}', "line 1, column 10: found invalid Unicode character escape code"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 60_000 + "]" * 60_000, "{a: " * 60_000, "- " * 100_000, "? " * 100_000],
)
def test_the_deepest_nesting_is_refused_at_once(text: str) -> None:
    assert "nested deeper than 250" in refusal(text) or "keys are plain texts" in refusal(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    tree = read_document("[" * 250 + "]" * 250).tree
    depth = 0
    while isinstance(tree, list):
        tree, depth = (tree[0] if tree else None), depth + 1

    assert depth == 250


def test_a_text_has_at_most_256_kibibytes() -> None:
    fitting = "a: " + "é" * ((MAX_BYTES - 4) // 2)

    assert read_document(fitting).tree
    assert refusal(fitting + "ééé") == f"the text has {MAX_BYTES + 5} bytes, at most {MAX_BYTES} are allowed"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read_document("\ufeffa: 1").tree == {"a": 1}


def character_at(document: Document, place: Place, offset: int) -> str:
    position = document.position(place, offset)
    assert position is not None
    line, column = position
    return document.lines[line - 1][column - 1 : column]


@pytest.mark.parametrize(
    ("text", "offset", "position"),
    [
        ("k: abc", 2, (1, 6)),
        ("k:   'abc'", 0, (1, 7)),
        ("k: 'it''s'", 3, (1, 9)),
        ('k: "\\u0041\\n\\x41b"', 3, (1, 17)),
        ('k: "\\"é\\\\x"', 3, (1, 10)),
        ("k: a b\n   c", 4, (2, 4)),
        ("k: |\n  ab\n  cd\n", 4, (3, 4)),
        ("k: |\n\n    ab\n\n    cd\n", 5, (5, 5)),
        ("k: >\n  ab\n  cd\n", 3, (3, 3)),
        ("k: >\n  ab\n\n\n  cd\n", 4, (5, 3)),
        ("k: >-\n  ab\n    cd\n  ef\n", 5, (3, 5)),
        ('{"k": "ab\\\n   cd"}', 2, (2, 4)),
    ],
)
def test_a_place_in_a_text_is_found_whatever_its_style(text: str, offset: int, position: tuple[int, int]) -> None:
    assert read_document(text).position(("k",), offset) == position


def test_a_group_stands_where_its_key_does_and_what_is_absent_where_its_group_does() -> None:
    document = read_document("a:\n  b:\n    - c: 1\n")

    assert document.position(("a", "b")) == (2, 3)
    assert document.position(("a", "b", 0)) == (3, 7)
    assert document.position(("a", "b", 0, "c")) == (3, 10)
    assert document.position(("a", "b", 0, "d", "e")) == (3, 7)


def random_lines(draw: random.Random) -> list[str]:
    lines: list[str] = []
    for number in range(draw.randint(1, 5)):
        if number:
            lines += [""] * draw.choice([0, 0, 0, 1, 2])
        words = ["a" + "".join(draw.choices("bcxyzé😀", k=3)) for _ in range(draw.randint(1, 3))]
        lines.append(("  " if number and draw.random() < 0.25 else "") + " ".join(words))
    return lines


def test_the_place_of_every_character_holds_that_character() -> None:
    escapes = {"x": "\\x78", "y": "\\u0079", "z": "\\U0000007A"}
    for seed in range(100):
        draw = random.Random(seed)
        indent = draw.choice(["  ", "     "])
        body = "\n".join(f"{indent}{line}" if line else "" for line in random_lines(draw))
        flow = body.strip()
        escaped = "".join(escapes.get(c, c) for c in flow)
        blocks = [f"k: {style}\n{body}\nend: 1\n" for style in ("|", ">", "|-", ">+")]
        for text in (*blocks, f"k: {flow}\n", f"k: '{flow}'\n", f'k: "{escaped}"\n', f'{{"k": "{flow}"}}'):
            document = read_document(text)
            assert isinstance(document.tree, dict)
            for offset, character in enumerate(document.tree["k"]):
                if not character.isspace():
                    found = character_at(document, ("k",), offset)
                    assert found in (character, "\\"), (seed, text, offset)
