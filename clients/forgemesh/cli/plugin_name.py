"""What a new plugin is called: in the mesh, in forgemesh.toml, as a file and as a class."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from typing import Self

from forgemesh.cli.problem import usage
from forgemesh.notation.names import fits_dotted

_SEPARATORS = re.compile(r"[-_.]+")
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class PluginName:
    """Of `shop.word-count`: the section `word-count`, the module `word_count`, the class `WordCount`."""

    plugin_id: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises Problem for a name that cannot be all of these."""
        name = cls(text)
        if not fits_dotted(text) or len(text) > _LONGEST or text[-1] in "-_":
            raise usage(
                f"{text!r} cannot be the name of a plugin",
                hint="take lower-case letters, digits and - with a dot between the parts, such as shop.stock",
                reason="NAME_INVALID",
            )
        if not name.module.isidentifier() or keyword.iskeyword(name.module):
            raise usage(
                f"{text!r} gives a Python module of the name {name.module!r}, which cannot be",
                hint="let its last part begin with a letter and be no word of Python's own, such as shop.stock",
                reason="NAME_INVALID",
            )
        if name.module in sys.stdlib_module_names or name.module in ("forgemesh", "tests"):
            raise usage(
                f"{text!r} gives a Python module of the name {name.module!r}, which would hide another one",
                hint=f"take another name, such as {text}-plugin",
                reason="NAME_INVALID",
            )
        return name

    @property
    def section(self) -> str:
        """Its table in forgemesh.toml."""
        return self.plugin_id.rpartition(".")[2]

    @property
    def module(self) -> str:
        """The file that it stands in, without .py."""
        return self.section.replace("-", "_")

    @property
    def class_name(self) -> str:
        """The class."""
        return "".join(part[:1].upper() + part[1:] for part in _SEPARATORS.split(self.section))

    @property
    def load(self) -> str:
        """What a host is told."""
        return f"{self.module}:{self.class_name}"


def project_name(folder: str) -> str:
    """The beginning of plugin ids that suits a folder's name."""
    lower = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return re.sub(r"^[0-9-]+", "", lower) or "project"
