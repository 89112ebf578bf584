"""The secret behind the owner tokens: a new supervisor's hosts own the registrations of the old one's."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from forgemesh.chassis.process import CannotStart


def read_or_make(path: Path) -> bytes:
    """The key in `path`, made there if it is new (for its owner's eyes only); raises CannotStart."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return bytes.fromhex(path.read_text())
        with os.fdopen(file, "w") as made:
            key = secrets.token_bytes(32)
            made.write(key.hex())
        return key
    except (OSError, ValueError) as error:
        raise CannotStart(f"the owner key {path} cannot be used: {error}; delete it, and a new one is made") from error


def owner_token(key: bytes, instance_id: str) -> str:
    """The token of an instance, the same over restarts of its host and of the supervisor."""
    return hashlib.blake2b(instance_id.encode(), key=key, digest_size=16).hexdigest()
