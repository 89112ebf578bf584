"""What people type as arguments: durations, inputs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import Parameter

from forgemesh.cli.problem import usage
from forgemesh.language.json_value import NotJson, quoted, read_document, shown
from forgemesh.notation.duration import seconds_of

_BARE = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def _refuse_option(type_: Any, value: str | None) -> None:
    if value is not None and value.startswith("-") and value != "-":
        raise ValueError(f"Unknown option: {value}.")


NAMED_FILE = Parameter(allow_leading_hyphen=True, validator=_refuse_option)
"""A file, or - for what comes and goes without one, which else would be taken for an option."""


def seconds(text: str | None, option: str) -> float | None:
    """A duration such as 500ms, 30s, 2m, 1h, 7d or a bare number of seconds."""
    if text is None:
        return None
    try:
        return seconds_of(float(text) if _BARE.fullmatch(text.strip()) else text, zero=True)
    except ValueError as error:
        hint = "write it like 500ms, 30s, 2m, 1h or 7d"
        raise usage(f"{option} {text!r} is not a duration", hint=hint) from error


def input_of(pairs: Sequence[str], file: str | None, option: str = "-i ") -> object:
    """
    The input of an execution or a call: what `file` holds, with each key=value of `pairs` set in it.

    "-" is stdin; what begins with a brace is JSON itself. None if neither says anything. Without pairs the bytes go
    out as they are. `option` stands before a pair on the command line. A key is one name: a point in it is part of it.
    """
    raw, value = _read(file) if file is not None else (None, {})
    if not pairs:
        return None if raw is None else msgspec.Raw(raw)
    if not isinstance(value, dict):
        raise usage(f"{file} holds no JSON object, so {option}key=value cannot set anything in it")
    given: set[str] = set()
    for pair in pairs:
        key, said = _pair(pair, option)
        if key in given:
            raise usage(f"{option}{key}=... is given twice", hint="give each key once; a list is key='[1, 2]'")
        given.add(key)
        value[key] = said
    return value


def _pair(pair: str, option: str) -> tuple[str, object]:
    key, equals, text = pair.partition("=")
    if not equals or not key.strip():
        raise usage(f"{option}{shown(pair)} is not key=value", hint=f"write it like {option}path=data.csv")
    if not _is_text(pair):
        raise usage(f"{option}{shown(pair)} is no text: it is not UTF-8", hint="give it in a file, with --input")
    if key != key.strip():
        raise usage(f"{option}{shown(pair)} has blanks around its key", hint=f"write it like {option}path=data.csv")
    try:
        return key, _value(text)
    except NotJson as error:
        hint = f"to pass it as a text, write {option}{key}='{quoted(text)}'"
        raise usage(f"{option}{shown(pair)}: {error}", hint=hint) from error


def _is_text(argument: str) -> bool:
    """Whether what the command line held was UTF-8; other bytes come as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _value(text: str) -> object:
    """JSON, or else a text as it is; raises NotJson for what only looser readers take for JSON: 1E400, NaN."""
    try:
        return read_document(text.encode())
    except NotJson as error:
        if not error.malformed or _reads_loosely(text):
            raise
    return text


def _reads_loosely(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _read(file: str) -> tuple[bytes, Any]:
    """The bytes, and what they say."""
    try:
        if file.startswith("{"):
            raw = file.encode(errors="surrogateescape")
        else:
            raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise usage(f"cannot read --input {file}: {error.strerror}") from error
    try:
        return raw, read_document(raw)
    except NotJson as error:
        raise usage(f"--input {file} is not valid JSON: {error}") from error


def source_of(target: str) -> str | None:
    """The text of the definition if `target` names a file, None if it is the name of a workflow."""
    path = Path(target)
    if not path.is_file() and "/" not in target and path.suffix not in (".yaml", ".yml", ".json"):
        return None
    return _text(path, hint="forgemesh run takes a file or a workflow's name")


def definition_file(file: str) -> str:
    """The text of a definition; "-" is stdin."""
    return sys.stdin.read() if file == "-" else _text(Path(file))


def _text(path: Path, hint: str = "") -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise usage(f"{path} is no text file: it is not UTF-8 at byte {error.start}") from error
