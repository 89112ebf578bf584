import asyncio

import pytest

from forgemesh.chassis.tasks import beside


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
