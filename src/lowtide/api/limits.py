"""A body beyond the limit is refused at once: by its stated length, else as soon as it has grown too long."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lowtide.api.problems import of_error
from lowtide.values.errors import BodyTooLarge

MAX_BODY_BYTES = 8 * 1024 * 1024


class BodyLimit:
    """ASGI middleware: 413 for bodies over `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > self._limit:
            return await self._refuse(scope, receive, send)
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise BodyTooLarge(self._detail())
            return message

        return await self._app(scope, counted, send)

    def _detail(self) -> str:
        return f"The body is over {self._limit // (1024 * 1024)} MiB, the most that is taken. Send less, or in parts."

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await of_error(BodyTooLarge(self._detail()))(scope, receive, send)
