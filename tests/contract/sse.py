"""Reading server-sent events as a client does: kind, id and data of each; comments and bare ids are no events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    kind: str
    id: str | None
    data: dict[str, Any]

    @property
    def offers(self) -> list[str]:
        return [ask["offer_id"] for ask in self.data["data"]]


class Events:
    """The events of a stream, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id: str | None = None

    async def next(self, within_s: float = 5.0) -> Event:
        """The next event. Raises TimeoutError, and StopAsyncIteration where the stream has ended."""
        return await asyncio.wait_for(self._next(), within_s)

    async def _next(self) -> Event:
        kind, data = "message", ""
        while True:
            line = await anext(self._lines)
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("data: "):
                data += line[6:]
            elif not line:
                if data:
                    return Event(kind, self.last_id, json.loads(data))
                kind = "message"


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, last_event_id: str | None = None, **params: Any
) -> AsyncIterator[Events]:
    """The stream of the book, with a filter."""
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    async with client.stream("GET", "/v1/book/stream", params=params, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Events(answer)
