"""Secrets in a configuration: named by the file that holds them, never by what they are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from forgemesh.faults import Code
from forgemesh.plugin.failure import OperationError


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The path of a file that holds a secret; a configuration says {"file": "/run/secrets/password"}."""

    file: str

    def read(self) -> str:
        """
        What the file holds now, without the line end behind it; it is read anew each time, so that it may change.

        Raises OperationError (SECRET_UNAVAILABLE, retryable) if it cannot be read.
        """
        try:
            text = Path(self.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise OperationError(
                "SECRET_UNAVAILABLE",
                f"the secret in {self.file} cannot be read: {cause}; see who may read the file",
                retryable=True,
                metadata={"file": self.file},
                code=Code.UNAVAILABLE,
            ) from error
        return text.removesuffix("\n").removesuffix("\r")
