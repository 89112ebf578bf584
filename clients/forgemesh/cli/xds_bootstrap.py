"""`forgemesh xds bootstrap`."""

from __future__ import annotations

import json
import secrets
import shlex
import socket
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from forgemesh.cli.arguments import NAMED_FILE
from forgemesh.cli.command_line import Given, switch
from forgemesh.cli.problem import usage
from forgemesh.cli.service_address import is_address, service_address
from forgemesh.client import Client

_STANDARD = "-"
_FILE = "xds-bootstrap.json"
_LONGEST_ID = 256
"""Characters that a balancer takes."""


async def bootstrap(
    file: Annotated[str, NAMED_FILE] = _FILE,
    /,
    *,
    server: str | None = None,
    node_id: Annotated[str | None, Parameter(name="--node-id")] = None,
    force: Annotated[bool, switch()] = False,
    line: Given,
) -> None:
    """
    Write the file by which stock gRPC clients find the balancer, so that they can call plugins at xds:///PLUGIN.

    Examples:

        forgemesh xds bootstrap

        forgemesh xds bootstrap - --server balancer.forgemesh:7403 --node-id billing

    Parameters
    ----------
    file
        Where to, or - for stdout.
    server
        The balancer's host:port as the client reaches it; without it the mesh is asked. With it nobody is asked.
    node_id
        What clients with this file call themselves in the balancer's log; made up if not given.
    force
        Write over a file that is there.
    """
    if server is not None and not is_address(server):
        raise usage(f"--server {server!r} is no address", hint="write it as host:port, such as 127.0.0.1:7403")
    if node_id is not None and not (0 < len(node_id) <= _LONGEST_ID and node_id.isprintable()):
        raise usage(f"--node-id {node_id!r} is no name", hint=f"take 1 to {_LONGEST_ID} characters that can be printed")
    path = None if file == _STANDARD else _target(file, force=force)
    if server is None:
        async with Client.connect(line.address) as mesh:
            server = await service_address(mesh, "balancer")
    text = json.dumps(bootstrap_of(server, node_id or f"{socket.gethostname()}-{secrets.token_hex(4)}"), indent=2)
    if path is None:
        line.terminal.data(*text.splitlines())
        return
    place = _write(path, f"{text}\n")
    if line.terminal.json:
        line.terminal.value({"file": str(path), "server": server})
        return
    line.terminal.data(str(path))
    line.terminal.talk(
        f"tell clients of it: export GRPC_XDS_BOOTSTRAP={shlex.quote(place)}",
        "and call a plugin at xds:///PLUGIN instead of at an address; docs/xds.md says how in each language",
    )


def _target(file: str, *, force: bool) -> Path:
    path = Path(file)
    if path.exists() and not force:
        raise usage(f"{path} is there already", hint="say --force to write over it, or name another file")
    return path


def _write(path: Path, text: str) -> str:
    """Where it is from everywhere."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise usage(f"cannot write {path}: {error.strerror}") from error
    return str(path.resolve())


def bootstrap_of(server: str, node_id: str) -> dict[str, object]:
    """What stock clients read; without a locality, which may be empty, that of Node.js takes nothing."""
    servers = [{"server_uri": server, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}]
    return {"xds_servers": servers, "node": {"id": node_id, "locality": {}}}
