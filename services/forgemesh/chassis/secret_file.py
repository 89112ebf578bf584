"""A secret that a file holds."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from forgemesh.chassis.private_files import keep_private

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
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as made:
            keep_private(file)
            made.write(text + "\n")
    except OSError as error:
        raise NoSecret(f"the key file {path} cannot be made: {error.strerror}") from error
    return text
