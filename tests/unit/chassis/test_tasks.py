import asyncio
import logging
import threading

import pytest

from forgemesh.chassis.tasks import beside, lasting, watched
from forgemesh.chassis.threads import start_thread


async def test_work_goes_on_beside_the_block_and_ends_with_it() -> None:
    going, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            going.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with beside(work()):
        await going.wait()
        assert not ended.is_set()

    assert ended.is_set()


async def test_work_that_fails_ends_the_block_and_is_raised_as_it_is() -> None:
    async def work() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        async with beside(work()):
            await asyncio.Event().wait()


async def test_the_exception_of_the_block_is_raised_as_it_is() -> None:
    with pytest.raises(OSError, match="the port is in use"):
        async with beside(asyncio.sleep(3600)):
            raise OSError("the port is in use")


class Work:
    """Ends by a bug so many times, then goes on until it is told to end."""

    def __init__(self, bugs: int) -> None:
        self.bugs = bugs
        self.begun = 0
        self.going, self.over = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self.bugs:
            raise LookupError(f"bug {self.begun}")
        self.going.set()
        await self.over.wait()


async def test_lasting_work_begins_again_after_a_bug_which_is_logged_by_name_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(bugs=2)

    async with beside(lasting("the look after sheep", work.run)):
        await work.going.wait()

    assert work.begun == 3
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"the look after sheep has ended by a bug, time {n} in a row; it begins again" for n in (1, 2)]
    assert "bug 2" in caplog.text


async def test_lasting_work_may_end_and_be_cancelled() -> None:
    ended, cut = Work(bugs=0), Work(bugs=0)
    ended.over.set()
    cutting = watched(lasting("cut", cut.run))
    await cut.going.wait()
    cutting.cancel()

    await lasting("ended", ended.run)
    await asyncio.wait([cutting])

    assert (ended.begun, cut.begun) == (1, 1)
    assert cutting.cancelled()


async def test_whoever_starts_a_task_is_told_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Exception | None] = []
    work, other = Work(bugs=1), Work(bugs=0)
    other.over.set()

    await asyncio.wait([watched(work.run(), told.append), watched(other.run(), told.append)])
    await asyncio.wait([watched(Work(bugs=1).run(), name="herding")])

    assert [type(one) for one in told] == [LookupError, type(None)]
    assert "herding has ended by a bug" in caplog.text


def test_a_thread_begins_again_after_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []

    def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise LookupError("nothing there")

    again = start_thread("herd", work)
    again.join(60)

    assert begun == [0, 1]
    assert again.daemon
    assert "thread herd has ended by a bug, time 1; it begins again" in caplog.text


def test_a_thread_that_is_for_once_is_over(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise LookupError("nothing there")

    once = start_thread("herd", work, again=False)
    once.join(60)

    assert once not in threading.enumerate()
    assert "thread herd has ended by a bug, time 1; it is over" in caplog.text
