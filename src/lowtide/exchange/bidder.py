"""Bidders: live feeds that stand, and how each has done lately."""

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import orjson

from lowtide.market.offer import Offer
from lowtide.store.tables import Feed

FAILURES = 5
"""So many in a row, and the bidder is left out for a while."""
PAUSE_S, MOST_PAUSE_S = 30.0, 600.0
FAULTS = 10


@dataclass(frozen=True, slots=True)
class Bidder:
    """A live feed that stands: whom to ask, and for which offers of its provider."""

    feed_id: str
    provider: str
    secret: str
    bid_url: str
    timeout_ms: int
    include: tuple[str, ...]
    notices_url: str | None
    notify: frozenset[str]

    def bids_for(self, offer: Offer) -> bool:
        """Whether it is asked for an offer."""
        names = (offer.id, offer.model, offer.upstream_model)
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.include)


def bidder_of(feed: Feed, provider: str) -> Bidder:
    """The bidder of a live feed's row."""
    spec = orjson.loads(feed.spec)
    return Bidder(
        feed.id,
        provider,
        feed.secret or "",
        spec["bid_url"],
        spec.get("timeout_ms", 80),
        tuple(spec.get("include") or ("*",)),
        spec.get("notices_url"),
        frozenset(spec.get("notify") or ()),
    )


def _message(code: str) -> str:
    """A fault in words."""
    if code.startswith("left_out_"):
        seconds = code.removeprefix("left_out_").removesuffix("_s")
        return f"After {FAILURES} failures in a row the bidder is not asked for {seconds} s."
    return f"The bidder's answer was not taken: {code}."


@dataclass(slots=True)
class Form:
    """How a bidder has done lately, on this node; pauses by the monotonic clock, other instants by the market's (µs)."""

    failures: int = 0
    pause_s: float = PAUSE_S
    left_out_until: float = 0.0
    network_ms: float | None = None
    asked_at: int | None = None
    answered_at: int | None = None
    faults: list[tuple[int, str]] = field(default_factory=list)
    unwritten: bool = False

    def note(self, fault: str | None, *, now: float, at: int) -> None:
        """Count an answer, or what was wrong with it or its lack, at an instant (`at`: the market's, µs)."""
        self.asked_at, self.unwritten = at, True
        if fault is None:
            self.answered_at = at
            self.failures, self.pause_s, self.left_out_until = 0, PAUSE_S, 0.0
            return
        self.faults = [(at, fault), *self.faults][:FAULTS]
        if now < self.left_out_until:
            # A call that was under way when it was left out tells nothing new.
            return
        self.failures += 1
        if self.failures >= FAILURES:
            # One more failure after the pause leaves it out again, for twice as long.
            self.failures = FAILURES - 1
            self.left_out_until = now + self.pause_s
            self.faults = [(at, f"left_out_{self.pause_s:.0f}_s"), *self.faults][:FAULTS]
            self.pause_s = min(2 * self.pause_s, MOST_PAUSE_S)

    def note_network(self, took_ms: float) -> None:
        """Learn how long messages are under way, from a bidder that tells how long it took itself."""
        took_ms = max(0.0, took_ms)
        self.network_ms = took_ms if self.network_ms is None else 0.8 * self.network_ms + 0.2 * took_ms

    def told_ms(self, bidder: Bidder) -> int:
        """The time a bidder is told it has: less what the network usually takes, a tenth while that is unknown."""
        network_ms = bidder.timeout_ms / 10 if self.network_ms is None else self.network_ms
        return max(1, bidder.timeout_ms - math.ceil(min(network_ms, bidder.timeout_ms / 2)))

    def health(self) -> dict[str, Any]:
        """What the feed's health tells of it."""
        return {
            "last_attempt": self.asked_at,
            "last_success": self.answered_at,
            "failures": self.failures,
            "errors": [{"at": at, "code": code, "message": _message(code)} for at, code in self.faults],
        }
