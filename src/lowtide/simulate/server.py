"""Serving an ASGI application on a local port inside the running loop: simulated upstreams, and the demo's market."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


class _Quiet(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@asynccontextmanager
async def serving(app: Any, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; gives the base URL, such as http://127.0.0.1:40123. Port 0 is any free one."""
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", timeout_graceful_shutdown=2, access_log=False
    )
    server = _Quiet(config)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        running = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        try:
            while not server.started:
                if running.done():
                    raise RuntimeError("the server ended before it began") from running.exception()
                await asyncio.sleep(0.002)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait([running])


class UpstreamThread:
    """An ASGI application, such as Upstreams, served on a thread of its own: for callers without an event loop."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app, self._host, self._port = app, host, port
        self._base: Future[str] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="upstreams", daemon=True)

    def __enter__(self) -> str:
        """Start; gives the base URL. Raises OSError where the port is taken."""
        self._thread.start()
        return self._base.result()

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as fault:
            if self._base.done():
                raise
            self._base.set_exception(fault)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with serving(self._app, self._host, self._port) as base:
            self._base.set_result(base)
            await self._stop.wait()
