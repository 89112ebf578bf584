from pathlib import Path

import msgspec
import pytest

from forgemesh.cli.arguments import input_of, seconds, source_of
from forgemesh.cli.problem import Problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h", 3600), ("7d", 604_800), ("1.5s", 1.5), ("7", 7)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, expected: float) -> None:
    assert seconds(text, "--timeout") == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "3 days", "1e9s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="is not a duration"):
        seconds(text, "--timeout")


def test_no_input_is_none() -> None:
    assert input_of((), None) is None


def test_values_that_read_as_json_are_json_and_others_are_text() -> None:
    pairs = ("rows=12", "path=data.csv", "deep=true", 'name="12"', "list=[1, 2]", "sum=a=b", "empty=")

    assert input_of(pairs, None) == {
        "rows": 12,
        "path": "data.csv",
        "deep": True,
        "name": "12",
        "list": [1, 2],
        "sum": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("pair", ["path", "=value", ""])
def test_a_pair_needs_a_key_and_an_equals_sign(pair: str) -> None:
    with pytest.raises(Problem, match="is not key=value"):
        input_of((pair,), None)


def test_a_file_of_json_is_sent_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_bytes(b'{"n":  123456789012345678901234567890}')

    assert msgspec.json.encode(input_of((), str(file))) == file.read_bytes()


def test_pairs_are_set_in_what_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"path": "a.csv", "rows": 1}')

    assert input_of(("rows=2",), str(file)) == {"path": "a.csv", "rows": 2}


@pytest.mark.parametrize("content", ["[1]", "7"])
def test_nothing_can_be_set_in_what_is_no_object(tmp_path: Path, content: str) -> None:
    file = tmp_path / "input.json"
    file.write_text(content)

    with pytest.raises(Problem, match="no JSON object"):
        input_of(("rows=2",), str(file))


def test_bytes_that_are_no_text_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_bytes(b'{"name": "\xff"}')

    with pytest.raises(Problem, match="not valid JSON") as in_file:
        input_of((), str(file))
    with pytest.raises(Problem, match="not UTF-8") as in_pair:
        input_of(("name=caf\udce9",), None)

    assert (in_file.value.exit_code, in_pair.value.exit_code) == (2, 2)


def test_a_broken_or_missing_input_file_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text("{")

    with pytest.raises(Problem, match="not valid JSON") as broken:
        input_of((), str(file))
    with pytest.raises(Problem, match="No such file") as missing:
        input_of((), str(tmp_path / "nowhere.json"))

    assert (broken.value.exit_code, missing.value.exit_code) == (2, 2)


def test_what_names_a_file_is_read_and_everything_else_is_a_workflows_name(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text("name: etl")

    assert source_of(str(file)) == "name: etl"
    assert source_of("weather-report") is None


@pytest.mark.parametrize("target", ["missing.yaml", "missing.yml", "missing.json", "some/where"])
def test_a_missing_file_is_not_taken_for_a_name(target: str) -> None:
    with pytest.raises(Problem, match="No such file"):
        source_of(target)


def test_a_folder_and_a_binary_file_are_no_definitions(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(Problem, match="not UTF-8 at byte 0"):
        source_of(str(file))
    with pytest.raises(Problem, match="Is a directory"):
        source_of(str(tmp_path))


@pytest.mark.parametrize(
    "pair", ["n=1E400", "n=-1e999", "n=NaN", "n=-Infinity", "l=[1, Infinity]", 'o={"a": 1, "a": 2}', "n=" + "9" * 5000]
)
def test_what_is_meant_as_json_and_is_none_does_not_become_text(pair: str) -> None:
    with pytest.raises(Problem) as refused:
        input_of((pair,), None)

    assert refused.value.exit_code == 2
    assert "to pass it as a text" in refused.value.hint


@pytest.mark.parametrize("text", ["01234", "1.2.3", "+49", "Nan", "inf", "[draft", "1e", "None", "0x1F", "1_000"])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    assert input_of((f"v={text}",), None) == {"v": text}


def test_a_key_that_is_given_twice_is_wrong_usage() -> None:
    with pytest.raises(Problem, match="is given twice"):
        input_of(("i=1", "j=1", "i=2"), None)


@pytest.mark.parametrize("pair", [" =1", " key=1", "key =1"])
def test_blanks_are_no_part_of_a_key(pair: str) -> None:
    with pytest.raises(Problem):
        input_of((pair,), None)


def test_a_point_is_part_of_a_key() -> None:
    assert input_of(("a.b=1",), None) == {"a.b": 1}


@pytest.mark.parametrize("content", ['{"x": [{"a": 1, "a": 2}]}', '{"v": 1e400}', '{"v": NaN}', "[" * 300])
def test_a_document_that_says_two_things_or_none_is_wrong_usage(tmp_path: Path, content: str) -> None:
    file = tmp_path / "input.json"
    file.write_text(content)

    for given in (str(file), content):
        with pytest.raises(Problem) as refused:
            input_of((), given)
        assert refused.value.exit_code == 2


@pytest.mark.parametrize("depth", [251, 950, 100_000])
def test_an_input_that_is_nested_too_deep_is_wrong_usage(tmp_path: Path, depth: int) -> None:
    file = tmp_path / "input.json"
    file.write_text("[" * depth + "]" * depth)

    with pytest.raises(Problem, match="nested deeper than 250") as in_file:
        input_of((), str(file))
    with pytest.raises(Problem, match="nested deeper than 250") as in_pair:
        input_of(("value=" + "[" * depth,), None)

    assert (in_file.value.exit_code, in_pair.value.exit_code) == (2, 2)
