"""Where the services of a mesh listen, and whether they can be reached from here."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from forgemesh.chassis.next_command import VARIABLES
from forgemesh.chassis.threads import start_thread
from forgemesh.cli.exits import ExitCode
from forgemesh.cli.problem import Problem, usage
from forgemesh.client import Client

OVERRIDES = {service: variable for service, variable in VARIABLES.items() if service != "orchestrator"}
"""The variables that say where a service is for whoever asks from here, by service."""
_PORT = {"registry": 7402, "balancer": 7403, "supervisor": 7404, "traces": 7405}
_PATIENCE = 1.0
"""Seconds that a name may take to resolve, and then a connection to open."""
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a service cannot be asked from here, for people; `forward` are the lines that change it."""

    service: str
    cause: str

    @property
    def forward(self) -> list[str]:
        """How to reach it through kubectl."""
        port, variable = _PORT[self.service], OVERRIDES[self.service]
        return [
            f"forward the {self.service} too: kubectl port-forward svc/{self.service} {port}",
            f"and say where it is: export {variable}=127.0.0.1:{port}",
        ]


def said_here(environment: Mapping[str, str]) -> dict[str, str]:
    """Where services are by what the environment says (host:port); raises Problem for what is no address."""
    said = {service: environment.get(variable, "") for service, variable in OVERRIDES.items()}
    for service, address in said.items():
        if address and _parts(address) is None:
            raise usage(
                f"{OVERRIDES[service]} {address!r} is no address",
                hint=f"write it as host:port, such as 127.0.0.1:{_PORT[service]}",
                reason="ADDRESS_INVALID",
            )
    return {service: address for service, address in said.items() if address}


def is_address(text: str) -> bool:
    """Whether it is a host and a port."""
    return _parts(text) is not None


async def addresses_of(mesh: Client, *needed: str) -> dict[str, str]:
    """
    Where each service of the mesh is, by name: as the orchestrator says unless the environment says otherwise.

    Raises Problem that names all of those that are `needed` and cannot be asked from here. The orchestrator is not
    asked if the environment names them all.
    """
    said = said_here(os.environ)
    known = said if needed and said.keys() >= set(needed) else await mesh.mesh() | said
    for service in needed:
        if not known.get(service):
            raise no_service(service)
    found = await asyncio.gather(*(why_unreachable(service, known[service]) for service in needed))
    if lost := [one for one in found if one is not None]:
        raise _problem(lost)
    return known


async def service_address(mesh: Client, service: str) -> str:
    """Where a service can be asked from here (host:port); raises Problem if that is nowhere."""
    return (await addresses_of(mesh, service))[service]


async def address_for_spans(mesh: Client) -> str:
    """Where spans of this process go (host:port); empty if nobody takes them, or cannot be reached from here."""
    address = (await addresses_of(mesh)).get("traces", "")
    return "" if not address or await why_unreachable("traces", address) else address


async def why_unreachable(service: str, address: str) -> Unreachable | None:
    """
    What keeps this machine from asking a service that the orchestrator names; None if nothing is known to.

    Names inside a mesh's own network mean nothing outside of it, and a call there would only run into its deadline.
    What is on this machine, or named by the environment, is not looked at: a call says at once if nobody is there.
    """
    if service not in OVERRIDES or os.environ.get(OVERRIDES[service]):
        return None
    cause = await why_closed(address)
    return Unreachable(service, cause) if cause else None


async def why_closed(address: str) -> str:
    """Why no connection to host:port can be opened from here; empty if it can, or if it is this machine."""
    parts = _parts(address)
    if parts is None:
        return f"{address} is no address"
    host, port = parts
    if _is_here(host):
        return ""
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await _resolved(host, port)
    except (OSError, UnicodeError, TimeoutError):
        return f"{address} does not resolve from here"
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(found, port)
    except TimeoutError:
        return f"nobody answers at {address} from here within {_PATIENCE:g} s"
    except OSError as error:
        return f"nobody answers at {address} from here: {(os.strerror(error.errno) if error.errno else 'no').lower()}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


def no_service(service: str) -> Problem:
    """The mesh has no such service."""
    return Problem(
        ExitCode.UNREACHABLE,
        f"this mesh has no {service}: its orchestrator knows of none",
        reason="SERVICE_UNREACHABLE",
        code="UNAVAILABLE",
        hint=f"set FORGEMESH_ORCHESTRATOR_{service.upper()} for the orchestrator",
    )


def _problem(lost: list[Unreachable]) -> Problem:
    first, *others = (f"cannot ask the {one.service}: {one.cause}" for one in lost)
    return Problem(
        ExitCode.UNREACHABLE,
        first,
        reason="SERVICE_UNREACHABLE",
        code="UNAVAILABLE",
        details=others,
        hint="\n".join(line for one in lost for line in one.forward),
    )


def _parts(address: str) -> tuple[str, int] | None:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 2**16:
        return None
    return found["host"].strip("[]"), int(found["port"])


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _resolved(host: str, port: int) -> str:
    """The first address of a host; the loop's own way would let the process wait for a name server at its end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(found: str | OSError | UnicodeError) -> None:
        if answer.done():
            return
        if isinstance(found, str):
            answer.set_result(found)
        else:
            answer.set_exception(found)

    def look() -> None:
        found: str | OSError | UnicodeError
        try:
            found = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        except (OSError, UnicodeError) as error:
            found = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    start_thread("resolve", look, again=False)
    return await answer
