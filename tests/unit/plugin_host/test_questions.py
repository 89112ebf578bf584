"""Which answer belongs to which question that a host is asked."""

import asyncio

import pytest

from forgemesh.plugin_host.supervisor.hosts.questions import ON_ITS_WAY, Questions, Unanswered

NOTHING_LEFT = -ON_ITS_WAY


async def given_up(questions: Questions, kind: str) -> int:
    """Ask, and let the time run out; the number of the question."""
    numbers: list[int] = []
    with pytest.raises(Unanswered, match="it did not answer within"):
        await questions.ask(kind, numbers.append, NOTHING_LEFT)
    return numbers[0]


async def asked(questions: Questions, kind: str) -> tuple[int, asyncio.Task[str]]:
    """A question that waits for its answer, and its number."""
    number: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    question = asyncio.create_task(questions.ask(kind, number.set_result, 60))
    return await number, question


async def test_a_late_answer_is_no_answer_to_the_next_question(caplog: pytest.LogCaptureFixture) -> None:
    questions = Questions("stock-1")
    late = await given_up(questions, "save_state")
    number, question = await asked(questions, "save_state")
    questions.answered("save_state", late, "old")
    questions.answered("save_state", number, "new")

    assert await question == "new"
    assert "stock-1 answers (save_state) too late" in caplog.text


async def test_a_host_that_knows_no_numbers_answers_in_the_order_in_which_it_is_asked() -> None:
    questions = Questions("stock-1")
    await given_up(questions, "save_state")
    _, saving = await asked(questions, "save_state")
    _, configuring = await asked(questions, "configure")
    questions.answered("configure", 0, "configured")
    questions.answered("save_state", 0, "old")
    questions.answered("save_state", 0, "new")

    assert (await saving, await configuring) == ("new", "configured")


async def test_an_answer_that_nobody_has_asked_for_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    questions = Questions("stock-1")
    questions.answered("configure", 7, "configured")
    questions.answered("configure", 0, "configured")

    assert caplog.text.count("what nobody has asked") == 2


async def test_the_end_of_a_process_answers_everything_at_once() -> None:
    questions = Questions("stock-1")
    _, question = await asked(questions, "save_state")
    questions.end("its process ended")

    with pytest.raises(Unanswered, match="its process ended"):
        await question
