import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from forgemesh.chassis.logs import JsonFormatter, about, adopt


class Lines(logging.Handler):
    """Keeps what a process would write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.setFormatter(JsonFormatter("forgemesh-mill"))

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))

    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.written[-1])
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    log = logging.getLogger("mill")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    yield handler
    log.removeHandler(handler)
    log.propagate = True


log = logging.getLogger("mill")


def test_a_record_is_one_line_of_json(lines: Lines) -> None:
    log.warning("%d stones\nturn", 2)

    assert len(lines.written[-1].splitlines()) == 1
    line = lines.last()
    assert line.pop("at").endswith("Z")
    assert line == {"level": "WARNING", "service": "forgemesh-mill", "logger": "mill", "message": "2 stones\nturn"}


def test_a_record_carries_the_ids_of_its_work(lines: Lines) -> None:
    with about(execution_id="x-1", trace_id="ab"), about(span_id="cd", trace_id="ef"):
        log.info("inside")
    inside = lines.last()
    log.info("outside")

    assert (inside["execution_id"], inside["trace_id"], inside["span_id"]) == ("x-1", "ef", "cd")
    assert lines.last().keys() == {"at", "level", "service", "logger", "message"}


async def test_tasks_at_the_same_time_do_not_mix_their_ids(lines: Lines) -> None:
    both_inside = asyncio.Barrier(2)

    async def work(execution_id: str) -> None:
        with about(execution_id=execution_id):
            await both_inside.wait()
            log.info("%s", execution_id)

    await asyncio.gather(work("x-1"), work("x-2"))

    told = [json.loads(line) for line in lines.written]
    assert sorted(line["message"] for line in told) == ["x-1", "x-2"]
    assert all(line["message"] == line["execution_id"] for line in told)


async def test_a_thread_that_works_for_a_task_has_its_ids(lines: Lines) -> None:
    with about(execution_id="x-1"):
        await asyncio.to_thread(log.info, "in a thread")

    assert lines.last()["execution_id"] == "x-1"


def test_what_a_thread_adopts_stays_in_it(lines: Lines) -> None:
    def work() -> None:
        adopt({"execution_id": "x-1"})
        log.info("inside")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    inside = lines.last()
    log.info("outside")

    assert inside["execution_id"] == "x-1"
    assert "execution_id" not in lines.last()


def test_extras_become_keys_whatever_they_are(lines: Lines) -> None:
    log.info("with extras", extra={"attempt": 2, "strange": object()})

    assert lines.last()["attempt"] == 2
    assert lines.last()["strange"].startswith("<object object")


def test_an_exception_is_told_with_its_traceback(lines: Lines) -> None:
    try:
        raise ValueError("worn out")
    except ValueError:
        log.exception("a stone broke")

    assert len(lines.written[-1].splitlines()) == 1
    assert lines.last()["exception"].startswith("Traceback")
    assert lines.last()["exception"].endswith("ValueError: worn out")


def test_a_record_obeys_nothing_that_others_wrote_and_keeps_all_of_it(lines: Lines) -> None:
    evil = "\x9b2J\u202e\x7f\x1b]0;x\x07"
    log.warning("it said %s", evil, extra={"what": evil})

    assert lines.written[-1].isprintable()
    assert lines.last()["what"] == evil
