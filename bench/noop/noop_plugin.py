"""A plugin that does nothing, as fast as it can."""

from typing import Any

from forgemesh.plugin import operation, plugin


@plugin("bench.noop", version="1.0.0", max_concurrency=64)
class Noop:
    """Gives back what it got."""

    @operation(idempotent=True)
    async def noop(self, value: Any = None) -> dict[str, Any]:
        """The value, one level deeper each time it is unwrapped again."""
        return {"value": value}
