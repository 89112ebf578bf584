import os

import pytest
from hypothesis import given, strategies as st

from forgemesh.plugin.search_path import folders_of, search_path

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(lambda name: f"/{name}")


@given(st.lists(NAMES))
def test_folders_come_back_as_they_were_whatever_their_names_hold(folders: list[str]) -> None:
    assert folders_of(search_path(folders)) == folders


@pytest.mark.parametrize("text", [f"/a{os.pathsep}/b", f"/a{os.pathsep}{os.pathsep}/b", '["/a", "/b"]'])
def test_both_forms_are_read(text: str) -> None:
    assert folders_of(text) == ["/a", "/b"]


@pytest.mark.parametrize("text", ["[relative]", "[1]", "[", "[[]"])
def test_a_folder_whose_name_only_begins_like_a_list_is_a_folder(text: str) -> None:
    assert folders_of(text) == [text]


def test_without_anything_to_quote_they_are_as_in_pythonpath() -> None:
    assert search_path(["/a", "/b"]) == f"/a{os.pathsep}/b"
