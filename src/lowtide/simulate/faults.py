"""Faults that a simulated upstream shows when told to."""

from dataclasses import dataclass, field
from typing import Literal

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
]
ANY_MODEL = "*"


@dataclass(slots=True)
class Fault:
    """A fault of a provider's model (or of all, "*"), for the next `times` calls; None: until cleared."""

    kind: FaultKind
    model: str = ANY_MODEL
    times: int | None = None
    retry_after: str | None = None
    delay_s: float = 0.0


@dataclass(slots=True)
class Stats:
    """What a provider's simulator saw. `keys` are the idempotency keys of calls that were answered."""

    calls: int = 0
    answered: int = 0
    disconnected: int = 0
    connections: set[tuple[str, int]] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
