"""Faults that a simulated upstream shows when told to, and what it saw."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, get_args

FaultKind = Literal[
    "rate_limit",
    "server_error",
    "overloaded",
    "cut",
    "slow_first_token",
    "malformed_json",
    "empty",
    "bad_request",
    "unauthorized",
    "hang",
    "preempted",
]
ANY_MODEL = "*"
_KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass(slots=True)
class Fault:
    """A fault of a provider's model (or of all, "*"), for the next `times` calls; None: until cleared.

    It shows after `delay_s` seconds. `rate_limit` and `overloaded` ask to wait `retry_after_s`, or as the header
    `retry_after` is written (an HTTP date, say). With a `share` below 1 it shows for so many of the calls, drawn by
    `seed`. `preempted` is how a spot lane takes a call back, with what was used till then where it `charges` for it.
    """

    kind: FaultKind
    model: str = ANY_MODEL
    times: int | None = None
    retry_after_s: float = 1.0
    retry_after: str | None = None
    delay_s: float = 0.0
    share: float = 1.0
    seed: int = 0
    charges: bool = False
    drawn: int = 0
    """Calls that it was drawn for so far."""

    def strikes(self) -> bool:
        """Whether it shows for the next call; the same calls for the same seed."""
        self.drawn += 1
        return self.share >= 1 or Random(f"{self.seed}:{self.drawn}").random() < self.share

    def retry_headers(self) -> dict[str, str]:
        """Retry-After, and `retry-after-ms` where a fraction of a second is meant."""
        if self.retry_after is not None:
            return {"retry-after": self.retry_after}
        headers = {"retry-after": str(math.ceil(self.retry_after_s))}
        if self.retry_after_s % 1:
            headers["retry-after-ms"] = str(round(self.retry_after_s * 1_000))
        return headers


@dataclass(slots=True)
class Stats:
    """What a provider's simulator saw: calls, those answered, those whose client left before, the most at once.

    `keys` are the idempotency keys of calls that were answered: one that stands twice was done twice.
    """

    calls: int = 0
    answered: int = 0
    disconnected: int = 0
    at_once: int = 0
    most_at_once: int = 0
    connections: set[tuple[str, int]] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The counts and keys; of the connections, how many."""
        return {
            "calls": self.calls,
            "answered": self.answered,
            "disconnected": self.disconnected,
            "most_at_once": self.most_at_once,
            "connections": len(self.connections),
            "keys": self.keys,
        }


def fault_from_json(spec: Mapping[str, Any]) -> Fault:
    """The fault that a JSON object describes by Fault's own names. Raises ValueError saying what is wrong."""
    unknown = set(spec) - (set(Fault.__slots__) - {"drawn"})
    if unknown:
        raise ValueError(f"Unknown fields: {', '.join(sorted(unknown))}.")
    if spec.get("kind") not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}.")
    for name in ("model", "retry_after"):
        if not isinstance(spec.get(name, ""), str):
            raise ValueError(f"{name} must be text.")
    for name in ("retry_after_s", "delay_s"):
        if not isinstance(spec.get(name, 0), (int, float)) or spec.get(name, 0) < 0:
            raise ValueError(f"{name} must be seconds, 0 or more.")
    share = spec.get("share", 1)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ValueError("share must be from 0 to 1.")
    if isinstance(spec.get("seed", 0), bool) or not isinstance(spec.get("seed", 0), int):
        raise ValueError("seed must be a whole number.")
    if not isinstance(spec.get("charges", False), bool):
        raise ValueError("charges must be true or false.")
    times = spec.get("times")
    if times is not None and (not isinstance(times, int) or times < 1):
        raise ValueError("times must be a whole number from 1, or null.")
    return Fault(**spec)
