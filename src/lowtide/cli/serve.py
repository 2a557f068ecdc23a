"""`lowtide serve`."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.cli import local
from lowtide.cli.options import DatabaseUrl
from lowtide.values.errors import SetupError

if TYPE_CHECKING:
    from lowtide.app import Settings

GRACE_S = 5
"""How long open requests may finish after Ctrl-C."""


def serve(
    host: Annotated[
        str | None, typer.Option(envvar="LOWTIDE_HOST", help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="LOWTIDE_PORT", min=0, max=65_535, help="Port; 0 takes any free one. [default: 8080]"
        ),
    ] = None,
    database: DatabaseUrl = None,
) -> None:
    """Open the market: API, sweeps and book on one node, until Ctrl-C.

    Example: OPENAI_API_KEY=… lowtide serve --port 9000
    """
    # Forecasts are small: more threads than this one would only take the core from those that answer.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = local.settings(database, host=host, port=port)
    with _listener(settings.host, settings.port) as listener:
        local.run(_serve(settings, listener))


async def _serve(settings: "Settings", listener: socket.socket) -> None:
    import uvicorn

    from lowtide.app import create_app
    from lowtide.cli.greeting import address, greet

    app = create_app(settings)
    url = address(settings.host, listener.getsockname()[1])

    class Server(uvicorn.Server):
        """Says when it is up; stops on a signal without raising it again, so that the market can close."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            greet(settings, app.state.running, url)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in before:
                signal.signal(number, self.handle_exit)
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S
    )
    async with app.router.lifespan_context(app):
        await Server(config).serve(sockets=[listener])
    typer.echo("Lowtide is closed.")


def _listener(host: str, port: int) -> socket.socket:
    """A bound socket, so that a port in use is told before the database is touched."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as fault:
        raise SetupError(f"{host} is no address of this machine: {fault.strerror}.") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
        listener.listen(1_024)
    except OSError as fault:
        listener.close()
        raise SetupError(
            f"Lowtide cannot listen on {host}:{port}: {fault.strerror}. Choose another port with --port."
        ) from None
    return listener
