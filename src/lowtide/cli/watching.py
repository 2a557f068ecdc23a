"""A task as it goes on: each change in a line, until its end or for so long as one waits."""

import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import typer

from lowtide.cli.offer_text import OfferNames, named
from lowtide.cli.say import money, when
from lowtide.cli.service import Service
from lowtide.cli.task_text import state_of

Event = tuple[str, str]


def watched(service: Service, task_id: str, *, within_s: float | None = None, quiet: bool = False) -> None:
    """Print each change of a task as it comes (`quiet`: only wait), until its end or for `within_s` seconds."""
    events = service.events(f"/v1/tasks/{task_id}/events")
    trail = Trail(service, task_id)
    for kind, data in events if within_s is None else for_so_long(events, within_s):
        if not quiet:
            typer.echo(trail.line(kind, json.loads(data)))


def for_so_long(events: Iterator[Event], seconds: float) -> Iterator[Event]:
    """Events until they end or the time is up. The stream is read aside, since a read of it may block for longer."""
    found: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for event in events:
                found.put(event)
            found.put(None)
        # Whatever it is: it is raised again by who waits for the events.
        except Exception as fault:
            found.put(fault)

    threading.Thread(target=read, daemon=True).start()
    ends = time.monotonic() + seconds
    while True:
        try:
            event = found.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            return
        if event is None:
            return
        if isinstance(event, Exception):
            raise event
        yield event


class Trail:
    """The events of one task in words; it counts the attempts that ended."""

    def __init__(self, service: Service, task_id: str) -> None:
        self._service = service
        self._task_id = task_id
        self._offers = OfferNames(service)
        self._ended = 0

    def line(self, kind: str, event: dict[str, Any]) -> str:
        """One event as a line."""
        said = self._attempt(kind, event) if kind.startswith("attempt.") else self._state(event)
        return f"{when(event['at'])}  {said}"

    def _attempt(self, kind: str, event: dict[str, Any]) -> str:
        self._ended += 1
        offer_id, upcoming = event["offer_id"], event.get("next")
        how = {"attempt.failed": "failed", "attempt.unknown": "was lost with its node"}.get(kind, "ended")
        outcome = f" ({event['outcome']})" if event.get("outcome") else ""
        then = f"; next: {self._offers(upcoming, upcoming)}" if upcoming else ""
        return f"attempt {self._ended} at {self._offers(offer_id, offer_id)} {how}{outcome}{then}"

    def _state(self, event: dict[str, Any]) -> str:
        """Where the task stands: why it waits, or where it runs and at which expected price."""
        state = event["state"]
        task = self._service.get(f"/v1/tasks/{self._task_id}").data
        if state == "held" and task["hold"]:
            return f"held: {task['hold']['reason']}"
        if state == "running":
            return f"running{self._place(task)}"
        return state_of({"state": state, "reason": event.get("reason")}, ": {}")

    def _place(self, task: dict[str, Any]) -> str:
        """The offer of the attempt that began then, which a failover may have replaced since."""
        begun = next((one for one in task["attempts"] if one["number"] == self._ended + 1), None)
        award = task["award"]
        if award is not None and (begun is None or begun["offer_id"] == award["offer_id"]):
            return f" at {named(award)}, expected price {money(award['price_usd'])}"
        return "" if begun is None else f" at {self._offers(begun['offer_id'], begun['provider'])}"
