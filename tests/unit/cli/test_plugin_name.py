import keyword
import re

import pytest
from hypothesis import given, strategies as st

from forgemesh.cli.plugin_name import PluginName, project_name
from forgemesh.cli.problem import Problem

PARTS = st.from_regex(re.compile(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8})?"), fullmatch=True)


def test_one_name_gives_the_section_the_file_and_the_class() -> None:
    name = PluginName.of("shop.word-count")

    assert (name.section, name.module, name.class_name) == ("word-count", "word_count", "WordCount")
    assert name.load == "word_count:WordCount"


@pytest.mark.parametrize("text", ["", "Shop", "shop..x", ".shop", "shop.", "a b", "shop/x", "x" * 61, "shop-", "x_"])
def test_what_is_no_dotted_name_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="cannot be the name of a plugin"):
        PluginName.of(text)


@pytest.mark.parametrize("text", ["class", "shop.import", "shop.1st"])
def test_what_python_cannot_import_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="which cannot be"):
        PluginName.of(text)


@pytest.mark.parametrize("text", ["json", "shop.logging", "forgemesh", "shop.tests"])
def test_what_would_hide_another_module_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="would hide another one"):
        PluginName.of(text)


@given(st.lists(PARTS, min_size=1, max_size=3).map(".".join))
def test_every_name_that_is_taken_can_be_imported(text: str) -> None:
    try:
        name = PluginName.of(text)
    except Problem:
        return

    assert name.module.isidentifier()
    assert not keyword.iskeyword(name.module)
    assert name.class_name.isidentifier()


@pytest.mark.parametrize(
    ("folder", "project"),
    [("shop", "shop"), ("My Shop", "my-shop"), ("42-things", "things"), ("", "project"), ("Ünder_score", "nder-score")],
)
def test_a_project_is_called_like_its_folder_as_far_as_that_goes(folder: str, project: str) -> None:
    assert project_name(folder) == project
    PluginName.of(f"{project}.greeter")
