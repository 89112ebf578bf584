"""Ports at which nobody listens, and that the system gives to nobody who asks for any: it takes them from higher up."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 12_000, 29_000
"""Below what Linux hands out (32,768 and more), and with room for what services listen at beside their main port."""


def free_port() -> int:
    """For a process that is to listen there later, or to be found there again after its death."""
    while True:
        port = random.randrange(LOWEST, HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def free_addresses(number: int) -> list[str]:
    """So many different ones, on this machine."""
    ports: set[int] = set()
    while len(ports) < number:
        ports.add(free_port())
    return [f"127.0.0.1:{port}" for port in sorted(ports)]
