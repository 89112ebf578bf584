from dataclasses import dataclass
from pathlib import Path

import pytest

from forgemesh.chassis.service import ServiceSettings
from forgemesh.chassis.settings import SettingsError, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Mill:
    """Settings of a mill."""

    stones: int = 2
    speed: float = 1.5
    name: str = "water"
    closed: bool = False
    grain: Path = Path("grain")
    gears: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.stones < 1:
            raise ValueError(f"stones = {self.stones} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Bakery:
    """Settings that somebody has to give."""

    oven: str
    street: str
    flour: str = "rye"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop(ServiceSettings):
    """Settings of a service."""

    listen: str = "127.0.0.1:1"
    health_listen: str = "127.0.0.1:2"


def written(folder: Path, text: str) -> Path:
    file = folder / "forgemesh.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems_of(cls: type, environment: dict[str, str] | None = None, file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings(cls, section="mill", environment=environment or {}, file=file)
    return refused.value.problems


def test_without_a_word_the_defaults_hold() -> None:
    assert load_settings(Mill, section="mill", environment={}) == Mill()


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[mill]\nstones = 3\nname = "Mühle"\ngrain = "/silo"\ngears = [4, 5]\n[other]\nstones = 9\n'
    )

    settings = load_settings(Mill, section="mill", environment={}, file=file)

    assert settings == Mill(stones=3, name="Mühle", grain=Path("/silo"), gears=(4, 5))


def test_a_file_without_the_section_says_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "[other]\nstones = 9\n")

    assert load_settings(Mill, section="mill", environment={}, file=file) == Mill()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[mill]\nstones = 3\nspeed = 2.0\n")
    environment = {"FORGEMESH_MILL_STONES": "4", "FORGEMESH_MILL_CLOSED": "true", "FORGEMESH_OTHER_SPEED": "9"}

    settings = load_settings(Mill, section="mill", environment=environment, file=file)

    assert settings == Mill(stones=4, speed=2.0, closed=True)


def test_a_section_with_a_dash_has_an_underscore_in_the_environment() -> None:
    environment = {"FORGEMESH_OLD_MILL_STONES": "4"}

    assert load_settings(Mill, section="old-mill", environment=environment).stones == 4


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    file = written(tmp_path, '[mill]\nstones = "many"\nspeeed = 2\n')
    environment = {"FORGEMESH_MILL_CLOSED": "perhaps", "FORGEMESH_MILL_SPEED": "fast"}

    problems = problems_of(Mill, environment, file)

    assert len(problems) == 4
    assert any(problem.startswith(f"{file} [mill] stones: ") for problem in problems)
    assert f"{file} [mill] speeed: unknown setting, did you mean 'speed'?" in problems
    assert any(problem.startswith("FORGEMESH_MILL_CLOSED: ") for problem in problems)
    assert any(problem.startswith("FORGEMESH_MILL_SPEED: ") for problem in problems)


def test_the_error_shows_one_mistake_a_line() -> None:
    error = SettingsError(["first", "second"])

    assert str(error) == "the settings are not valid:\n  first\n  second"


def test_a_name_like_no_other_is_told_what_there_is() -> None:
    (problem,) = problems_of(Mill, {"FORGEMESH_MILL_XYZZY": "1"})

    assert problem == "FORGEMESH_MILL_XYZZY: unknown setting; known: stones, speed, name, closed, grain, gears"


def test_a_value_out_of_range_is_refused_in_the_words_of_the_settings() -> None:
    assert problems_of(Mill, {"FORGEMESH_MILL_STONES": "0"}) == ["[mill] stones = 0 must be at least 1"]


@pytest.mark.parametrize(("name", "value"), [("GRAIN", Path("a b/c")), ("NAME", "x"), ("STONES", 7), ("SPEED", 0.5)])
def test_the_environment_can_say_every_plain_type(name: str, value: object) -> None:
    settings = load_settings(Mill, section="mill", environment={f"FORGEMESH_MILL_{name}": str(value)})

    assert getattr(settings, name.lower()) == value


def test_a_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(Mill, file=written(tmp_path, "[mill]\ngrain = 7\n"))

    assert "grain" in problem


def test_what_must_be_given_is_named_beside_other_mistakes() -> None:
    problems = problems_of(Bakery, {"FORGEMESH_MILL_STREET": "Main", "FORGEMESH_MILL_FLOOR": "1"})

    assert problems == ["FORGEMESH_MILL_FLOOR: unknown setting, did you mean 'flour'?", "[mill] oven: must be set"]


@pytest.mark.parametrize("text", ["[mill", "mill = 3", "\x00", "[mill]\nstones = 1\nstones = 2\n"])
def test_a_file_that_cannot_be_read_as_toml_is_named(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text)

    (problem,) = problems_of(Mill, file=file)

    assert problem.startswith(f"{file}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(Mill, file=tmp_path / "none.toml")

    assert "none.toml" in problem
    assert "No such file" in problem


@pytest.mark.parametrize("listen", ["0.0.0.0:7401", "[::]:7401", "192.0.2.1:1", "example.org:1", ":7401"])
def test_a_listener_beyond_this_machine_is_refused_unless_insecure_is_said(listen: str) -> None:
    environment = {"FORGEMESH_MILL_LISTEN": listen}

    (problem,) = problems_of(Shop, environment)
    settings = load_settings(Shop, section="mill", environment={**environment, "FORGEMESH_MILL_INSECURE": "1"})

    assert "--insecure" in problem
    assert settings.listening().address == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:80", "[::1]:7401", "localhost:7401"])
def test_a_listener_on_this_machine_needs_no_word(listen: str) -> None:
    environment = {"FORGEMESH_MILL_LISTEN": listen, "FORGEMESH_MILL_HEALTH_LISTEN": listen}

    assert load_settings(Shop, section="mill", environment=environment).listening().address == listen


def test_an_open_health_listener_is_refused_as_well() -> None:
    (problem,) = problems_of(Shop, {"FORGEMESH_MILL_HEALTH_LISTEN": "0.0.0.0:7501"})

    assert "health_listen" in problem
