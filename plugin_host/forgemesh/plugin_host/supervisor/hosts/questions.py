"""What a host is asked, and what it answers: an answer belongs to one question, and a late one is known as late."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

ON_ITS_WAY = 5.0
"""Seconds that an answer may take to come, after the time that the host has for it."""


class Unanswered(Exception):
    """There is no answer; why, for people."""


@dataclass(slots=True)
class _Question:
    kind: str
    answer: asyncio.Future[Any]


class Questions:
    """Those of one process of a host."""

    def __init__(self, instance_id: str) -> None:
        self._instance_id = instance_id
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    async def ask(self, kind: str, say: Callable[[int], None], within: float) -> Any:
        """The answer to what `say` says under the number that it is given; raises Unanswered after `within` seconds."""
        number = next(self._numbers)
        say(number)
        question = self._open[number] = _Question(kind, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(within + ON_ITS_WAY):
                return await question.answer
        except TimeoutError:
            raise Unanswered(f"it did not answer within {within:g} s") from None

    def answered(self, kind: str, number: int, answer: Any) -> None:
        """The host answers; with number 0 it is the question of that kind that has been open for longest."""
        number = number or next((one for one, asked in self._open.items() if asked.kind == kind), 0)
        question = self._open.pop(number, None)
        if question is None:
            _log.warning("%s answers (%s) what nobody has asked", self._instance_id, kind)
        elif question.answer.done():
            _log.warning("%s answers (%s) too late; that counts for nothing", self._instance_id, kind)
        else:
            question.answer.set_result(answer)

    def end(self, reason: str) -> None:
        """No more answers come."""
        for question in self._open.values():
            if not question.answer.done():
                question.answer.set_exception(Unanswered(reason))
                question.answer.exception()
        self._open.clear()
