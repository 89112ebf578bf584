"""The secret behind the owner tokens: a new supervisor's hosts own the registrations of the old one's."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from forgemesh.chassis.private_files import keep_private, make_private_folder, write_once
from forgemesh.chassis.process import CannotStart
from forgemesh.chassis.regular_file import read_file


def read_or_make(path: Path) -> bytes:
    """The key in `path`, made there if it is new (for its owner's eyes only); raises CannotStart."""
    try:
        if path.exists():
            keep_private(path)
            return _read(path)
        key = secrets.token_bytes(32)
        write_key(path, key)
        return key
    except (OSError, ValueError) as error:
        raise CannotStart(f"the owner key {path} cannot be used: {error}; delete it, and a new one is made") from error


def write_key(path: Path, key: bytes) -> None:
    """Put the key into a file that is not there yet; raises OSError."""
    if not path.parent.exists():
        make_private_folder(path.parent)
    write_once(path, key.hex())


def _read(path: Path) -> bytes:
    key = bytes.fromhex(read_file(path).decode("ascii"))
    if not key:
        raise ValueError("it is empty")
    return key


def owner_token(key: bytes, instance_id: str) -> str:
    """The token of an instance, the same over restarts of its host and of the supervisor."""
    return hashlib.blake2b(instance_id.encode(), key=key, digest_size=16).hexdigest()
