"""A secret that a file holds."""

from __future__ import annotations

import secrets
from pathlib import Path

from forgemesh.chassis.private_files import write_once

SHORTEST, LONGEST = 16, 256
"""Characters of a secret: a shorter one can be guessed from its digest."""


class NoSecret(Exception):
    """Its text says in one sentence which file holds none, why, and what to do."""


def read_secret(path: Path) -> str:
    """The text in the file without the blanks around it; raises NoSecret."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise NoSecret(f"the key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NoSecret(f"the key file {path} holds no key: it is no ASCII text") from error
    if not SHORTEST <= len(text) <= LONGEST or not text.isprintable():
        raise NoSecret(
            f"the key file {path} holds no key: that is {SHORTEST} to {LONGEST} characters on one line; make one with:"
            f" openssl rand -hex 32 > {path}"
        )
    return text


def make_secret(path: Path) -> str:
    """A new secret in a new file for its owner's eyes only; raises NoSecret."""
    text = secrets.token_urlsafe(32)
    try:
        write_once(path, text + "\n")
    except OSError as error:
        raise NoSecret(f"the key file {path} cannot be made: {error.strerror}") from error
    return text


def read_or_make_secret(path: Path) -> str:
    """The secret in the file, made if it is missing; who comes at the same time gets the same one. Raises NoSecret."""
    try:
        if not path.exists():
            write_once(path, secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass  # another process has made it in the moment between
    except OSError as error:
        raise NoSecret(f"the key file {path} cannot be made: {error.strerror}") from error
    return read_secret(path)
