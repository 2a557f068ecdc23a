"""One node of the market as a process of its own: `python node.py DATABASE_FILE LISTENING_FD OPERATOR_KEY [ROUND_S]`."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from lowtide.api.server import create_api
from lowtide.app import attach, read_settings, running_market


def main(database: str, listening_fd: str, operator_key: str, round_s: str = "900") -> None:
    """Serve a ticking market without stocked providers until killed."""
    settings = read_settings(
        {
            "LOWTIDE_DATABASE_URL": f"sqlite:///{database}",
            "LOWTIDE_OPERATOR_KEY": operator_key,
            "LOWTIDE_ALLOW_PRIVATE_URLS": "true",
        }
    )

    rules = replace(settings.rules, pool_s=0.2, batch_poll_s=0.1, round_s=int(round_s), round_solve_s=2.0)
    settings = replace(settings, rules=rules)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_market(settings, stocked=False) as running:
            attach(app, running)
            yield

    config = uvicorn.Config(create_api(lifespan), log_level="error")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(listening_fd))])


if __name__ == "__main__":
    main(*sys.argv[1:])
