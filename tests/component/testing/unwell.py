"""A plugin that does not start."""

from forgemesh.plugin import operation, plugin


@plugin("test.unwell", version="1.0.0")
class Unwell:
    def start(self) -> None:
        raise OSError("the door is locked")

    @operation
    def open(self) -> None:
        """Never reached."""
