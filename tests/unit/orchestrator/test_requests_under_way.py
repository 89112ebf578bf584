import asyncio
from asyncio import Future

from forgemesh.orchestrator.execution.commands.pending_requests import RequestsUnderWay

PATIENCE = 180.0


async def entered(under_way: RequestsUnderWay, request_id: str, order: list[str], name: str) -> None:
    async with under_way.alone("default", request_id):
        order.append(name)


async def turn_of_the_loop() -> None:
    """Whoever can go on does."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_second_request_of_an_id_waits_for_the_first() -> None:
    under_way, order = RequestsUnderWay(), list[str]()
    async with under_way.alone("default", "r"):
        second = asyncio.create_task(entered(under_way, "r", order, "second"))
        await turn_of_the_loop()
        order.append("first")

    await asyncio.wait_for(second, PATIENCE)
    assert order == ["first", "second"]


async def test_requests_of_other_ids_and_without_one_wait_for_nobody() -> None:
    under_way, order = RequestsUnderWay(), list[str]()
    async with under_way.alone("default", "r"), under_way.alone("default", ""), under_way.alone("other", "r"):
        await asyncio.wait_for(entered(under_way, "q", order, "another"), PATIENCE)
        await asyncio.wait_for(entered(under_way, "", order, "none"), PATIENCE)

    assert order == ["another", "none"]


async def test_what_is_on_its_way_to_the_store_holds_the_id() -> None:
    under_way, order = RequestsUnderWay(), list[str]()
    written: Future[int] = asyncio.get_running_loop().create_future()
    async with under_way.alone("default", "r") as hold:
        hold.until(written)
    second = asyncio.create_task(entered(under_way, "r", order, "second"))
    await turn_of_the_loop()
    assert order == []

    written.set_result(1)
    await asyncio.wait_for(second, PATIENCE)
    assert order == ["second"]


async def test_one_that_fails_or_goes_away_lets_go() -> None:
    under_way, order = RequestsUnderWay(), list[str]()

    async def held() -> None:
        async with under_way.alone("default", "r"):
            await asyncio.Event().wait()

    first = asyncio.create_task(held())
    await turn_of_the_loop()
    first.cancel()

    await asyncio.wait_for(entered(under_way, "r", order, "second"), PATIENCE)
    assert order == ["second"]
