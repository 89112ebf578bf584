import asyncio

import pytest

from forgemesh.plugin_host.scope import EndedEarly, interrupted_by, task_scope


async def test_a_block_ends_early_once_the_event_is_set() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)

    with pytest.raises(EndedEarly):
        async with interrupted_by(event):
            await asyncio.Event().wait()


async def test_a_block_whose_event_is_set_already_ends_at_its_first_wait() -> None:
    event = asyncio.Event()
    event.set()

    with pytest.raises(EndedEarly):
        async with interrupted_by(event):
            await asyncio.Event().wait()


async def test_an_event_after_the_block_disturbs_nobody() -> None:
    event = asyncio.Event()
    async with interrupted_by(event):
        await asyncio.sleep(0)
    event.set()
    for _ in range(5):
        await asyncio.sleep(0)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_event_at_the_very_end_of_the_block_disturbs_nobody() -> None:
    event = asyncio.Event()
    async with interrupted_by(event):
        await asyncio.sleep(0)
        event.set()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def work() -> None:
        async with interrupted_by(asyncio.Event()):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_failure_of_the_block_stays_what_it_is() -> None:
    with pytest.raises(KeyError):
        async with interrupted_by(asyncio.Event()):
            raise KeyError


async def test_the_failure_of_a_scope_is_that_of_its_first_task() -> None:
    async def fail() -> None:
        raise ValueError("first")

    async def scope() -> None:
        async with task_scope() as tasks:
            tasks.create_task(fail())
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="first"):
        await scope()
