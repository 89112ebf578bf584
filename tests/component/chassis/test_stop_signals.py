"""Processes that are told to stop while their event loop is held up, and while it is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from forgemesh.chassis.stop_signals import EXIT_STUCK, TAKING

PATIENCE = 180.0

PROGRAM = """
import asyncio, ctypes, os, sys, threading, time
from dataclasses import dataclass
from forgemesh.chassis.process import run_until_stopped

libc = ctypes.CDLL(None)

def turn_round():
    while True:
        pass

def read_in_c():
    nobody_writes, _writer = os.pipe()
    libc.read(nobody_writes, ctypes.create_string_buffer(1), 1)

def sleep():
    time.sleep(600)

HOLDS = {"sleep": sleep, "turn_round": turn_round, "read_in_c": read_in_c}

async def run(stop):
    mood = sys.argv[1]
    if mood == "held while it logs":
        import logging
        logging.getLogger().addHandler(handler := logging.StreamHandler())
        handler.acquire()
        mood = "sleep"
    print("running", flush=True)
    if mood in HOLDS:
        HOLDS[mood]()
    elif mood == "slow":
        await stop.wait()
        for _ in range(3):
            time.sleep(0.8)
        print("stopped", flush=True)
    elif mood == "held for a moment":
        time.sleep(1)
        await stop.wait()
        print("stopped", flush=True)

run_until_stopped(run)
"""


@contextmanager
def process(mood: str) -> Iterator[subprocess.Popen[str]]:
    """The program, once it runs."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mood], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "running\n"
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("place", "number"),
    [("sleep", signal.SIGTERM), ("turn_round", signal.SIGINT), ("read_in_c", signal.SIGTERM)],
)
def test_a_process_whose_loop_is_held_up_ends_when_told_to_and_says_where_it_stood(
    place: str, number: signal.Signals
) -> None:
    with process(place) as running:
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE)

    assert running.returncode == EXIT_STUCK
    assert f"{number.name} came, and the event loop has not taken it" in err
    assert f" in {place};" in err
    assert "(most recent call first)" in err


def test_it_ends_also_if_nobody_can_write_to_the_log() -> None:
    with process("held while it logs") as running:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=PATIENCE)

    assert running.returncode == EXIT_STUCK


@pytest.mark.parametrize("mood", ["slow", "held for a moment"])
def test_a_process_that_takes_the_signal_stops_as_slowly_as_it_likes(mood: str) -> None:
    with process(mood) as running:
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=PATIENCE)

    assert (running.returncode, out, err) == (0, "stopped\n", "")


def test_time_for_which_the_whole_process_was_stopped_does_not_count() -> None:
    with process("slow") as running:
        os.kill(running.pid, signal.SIGSTOP)
        running.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(TAKING + 0.5)
        os.kill(running.pid, signal.SIGCONT)
        out, _ = running.communicate(timeout=PATIENCE)

    assert (running.returncode, out) == (0, "stopped\n")


def test_a_second_signal_changes_nothing_for_one_that_stops() -> None:
    with process("slow") as running:
        running.send_signal(signal.SIGTERM)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE)

    assert (running.returncode, out, err) == (0, "stopped\n", "")
