"""The process of a workflow environment; forgemesh.testing starts it and speaks to it over a pipe (see pipe)."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from pathlib import Path

from forgemesh.chassis.tasks import watched
from forgemesh.orchestrator.simulation.environment import setting_up
from forgemesh.orchestrator.simulation.pipe import Pipe
from forgemesh.orchestrator.simulation.virtual_loop import VirtualLoop


async def serve_test(folder: Path, loop: VirtualLoop) -> None:
    """Do what is said until nobody is there any more."""
    pipe = await Pipe.open()
    async with setting_up(pipe, loop, folder / "test.sqlite3") as environment:
        able = {"register": environment.register, "run": environment.play}
        work: asyncio.Task[None] | None = None
        while (heard := await pipe.hear()) is not None:
            kind, content = heard
            if kind == "answer":
                environment.plugins.answer(content)
            else:
                work = watched(able[kind](content), _stop_at_a_bug)
        loop.hold()
        if work is not None and work.cancel():
            await asyncio.wait([work])


def _stop_at_a_bug(error: Exception | None) -> None:
    """Whoever runs the test finds the traceback on stderr."""
    if error is not None:
        traceback.print_exception(error)
        raise SystemExit(1) from error


def main() -> None:
    loop = VirtualLoop()
    with (
        tempfile.TemporaryDirectory(prefix="forgemesh-") as folder,
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        runner.run(serve_test(Path(folder), loop))


if __name__ == "__main__":
    main()
