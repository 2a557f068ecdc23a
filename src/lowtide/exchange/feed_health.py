"""What the runs of a feed gave, as its row keeps it (JSON): instants in µs."""

import random
from collections.abc import Mapping
from typing import Any

import orjson

from lowtide.exchange.listings import Kept
from lowtide.feeds.listing import Reading
from lowtide.store.tables import Feed
from lowtide.values.errors import MarketError
from lowtide.values.instants import HOUR_US, SECOND_US, rfc3339

ERRORS, REFUSALS = 10, 50
MOST_WAIT_US = HOUR_US
_DOUBLINGS = 10


def state_of(feed: Feed, now: int) -> str:
    """`ok`; `failing` while older quotes still stand, `silent` once they have lapsed; `closed`."""
    health = orjson.loads(feed.health or "{}")
    if feed.closed_at is not None:
        return "closed"
    if not health.get("failures"):
        return "ok"
    return "silent" if health.get("valid_until", now + 1) <= now else "failing"


def after_reading(
    health: Mapping[str, Any], kept: Kept, now: int, reading: Reading | None = None
) -> dict[str, Any]:
    """The health after a run that gave prices."""
    fresh: dict[str, Any] = {
        **health,
        "last_attempt": now,
        "last_success": now,
        "failures": 0,
        "silent": False,
        "offers": kept.offers,
        "quotes_accepted": kept.accepted,
        "quotes_unchanged": kept.unchanged,
        "quotes_held_back": kept.held_back,
        "quotes_refused": 0,
        "reference_only": kept.reference,
        "withdrawn": kept.withdrawn,
        "held_back": list(kept.notes),
        "refused": [],
        "errors": list(health.get("errors", [])),
    }
    if reading is not None:
        fresh |= {
            "format": reading.format,
            "entries": reading.entries,
            "models": reading.models,
            "quotes_refused": len(reading.refused),
            "refused": [
                {"entry": one.entry, "pointer": one.pointer, "code": one.code, "message": one.message}
                for one in reading.refused[:REFUSALS]
            ],
            "skipped": dict(reading.skipped),
        }
    if kept.shrunk:
        text = (
            f"{kept.shrunk} offers are missing at once, more than are left. They were not withdrawn: their quotes lapse "
            "unless the feed has them again."
        )
        fresh["errors"] = _with_error(health, "feed_shrunk", text, now)
    return fresh


def unchanged(health: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The health after a run in which nothing was new."""
    return {
        **health,
        "last_attempt": now,
        "last_success": now,
        "failures": 0,
        "silent": False,
        "quotes_accepted": 0,
    }


def after_failure(health: Mapping[str, Any], fault: MarketError, now: int) -> dict[str, Any]:
    """The health after a run that gave nothing. A feed is silent once all of its quotes have lapsed; that is told once."""
    fresh = {
        **health,
        "last_attempt": now,
        "failures": health.get("failures", 0) + 1,
        "silent": bool(health.get("silent")),
        "errors": _with_error(health, fault.code, fault.detail, now),
    }
    lapsed = health.get("valid_until")
    if lapsed is not None and lapsed <= now and not health.get("silent"):
        elsewhere = health.get("offers", 0) > 0 and health.get("reference_only") == health.get("offers")
        text = f"Its quotes lapsed at {rfc3339(lapsed)}: " + (
            "its offers are priced by another source."
            if elsewhere
            else "its offers cannot win until it answers again."
        )
        fresh |= {"silent": True, "errors": _with_error(fresh, "feed_silent", text, now)}
    return fresh


def _with_error(health: Mapping[str, Any], code: str, message: str, now: int) -> list[dict[str, Any]]:
    return [{"at": now, "code": code, "message": message[:300]}, *health.get("errors", [])][:ERRORS]


def next_run(
    interval_us: int, failures: int, now: int, dice: random.Random, asked_s: float | None = None
) -> int:
    """When a feed runs next, µs: an interval later, doubled for each failure up to an hour, or what the server asked.

    Spread by a tenth, so that feeds do not run all at once.
    """
    most = max(interval_us, MOST_WAIT_US)
    wait = min(interval_us << min(failures, _DOUBLINGS), most)
    if asked_s is not None:
        wait = max(wait, min(int(asked_s * SECOND_US), most))
    return now + wait + int(wait * dice.uniform(0, 0.1))
