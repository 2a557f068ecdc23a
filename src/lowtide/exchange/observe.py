"""What attempts teach about an offer: health, circuit, latency, tokens. Sealed into the book when a value has moved."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from lowtide.market.offer import CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_PROBING, ENOUGH_ANSWERS, Conditions
from lowtide.values.instants import MINUTE_US, SECOND_US

PPM = 1_000_000
WINDOW = 200
CIRCUIT_WINDOW, CIRCUIT_FAILURES = 20, 10
PROBE_AFTER_US = 30 * SECOND_US
SEAL_EVERY_US = MINUTE_US
_HEALTH_WEIGHT = 0.1
_MOVED = 0.05


@dataclass(frozen=True, slots=True)
class Observed:
    """One attempt as seen: whether the provider did its part, and for an answer its time and tokens.

    `base_tokens` is ceil(bytes / 4) of the input, `usual_output` the task type's at the time.
    """

    ok: bool
    latency_ms: int = 0
    input_tokens: int = 0
    base_tokens: int = 0
    output_tokens: int = 0
    usual_output: int | None = None


@dataclass(slots=True)
class _Record:
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=CIRCUIT_WINDOW))
    answers: deque[Observed] = field(default_factory=lambda: deque(maxlen=WINDOW))
    answered: int = 0
    health: float = 1.0
    circuit: str = CIRCUIT_CLOSED
    opened_at: int = 0
    sealed_at: int = 0
    answered_at: int = -1


class Observations:
    """What this node saw of each offer since it started; the sealed conditions carry over restarts."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def note(self, offer_id: str, seen: Observed, now: int) -> bool:
        """Take one attempt into account. True where a circuit opened or closed: that is sealed at once."""
        record = self._records.setdefault(offer_id, _Record())
        record.health += _HEALTH_WEIGHT * (float(seen.ok) - record.health)
        record.outcomes.append(seen.ok)
        if seen.ok:
            record.answers.append(seen)
            record.answered += 1
            record.answered_at = max(record.answered_at, now)
        before = record.circuit
        if record.circuit == CIRCUIT_PROBING:
            record.circuit = CIRCUIT_CLOSED if seen.ok else CIRCUIT_OPEN
            record.opened_at = now
            if seen.ok:
                record.outcomes.clear()
        elif record.outcomes.count(False) >= CIRCUIT_FAILURES:
            record.circuit, record.opened_at = CIRCUIT_OPEN, now
        return record.circuit != before

    def answered_since(self, offer_id: str, at: int) -> bool:
        """Whether the offer has answered anybody here since an instant (µs)."""
        record = self._records.get(offer_id)
        return record is not None and record.answered_at >= at

    def probe_due(self, now: int) -> list[str]:
        """Offers whose open circuit may be tried again; they are let through until the next outcome is seen."""
        due = [
            offer_id
            for offer_id, record in self._records.items()
            if record.circuit == CIRCUIT_OPEN and now - record.opened_at >= PROBE_AFTER_US
        ]
        for offer_id in due:
            self._records[offer_id].circuit = CIRCUIT_PROBING
        return due

    def to_seal(
        self, offer_id: str, sealed: Conditions, now: int, *, at_once: bool = False
    ) -> Conditions | None:
        """The offer's new conditions, where a value moved by 5 % and the last seal is a minute old, else None."""
        record = self._records.get(offer_id)
        if record is None or (not at_once and now - record.sealed_at < SEAL_EVERY_US):
            return None
        fresh = self._conditions(record, sealed)
        if fresh.circuit == sealed.circuit and not _moved(sealed, fresh):
            return None
        record.sealed_at = now
        return fresh

    def known(self) -> list[str]:
        """Offers with at least one attempt."""
        return list(self._records)

    def _conditions(self, record: _Record, sealed: Conditions) -> Conditions:
        answers = max(sealed.answers, record.answered)
        fresh = replace(
            sealed, health_ppm=_two_digits(int(record.health * PPM)), circuit=record.circuit, answers=answers
        )
        if len(record.answers) < ENOUGH_ANSWERS:
            return fresh
        table = np.array(
            [(a.latency_ms, a.output_tokens, a.input_tokens, a.base_tokens) for a in record.answers], float
        )
        latency, output = table[:, 0], table[:, 1]
        spread = float(np.var(output))
        slope = max(0.0, float(np.cov(latency, output, bias=True)[0, 1]) / spread) if spread > 0 else 0.0
        first = np.maximum(latency - slope * output, 0.0)
        ratio = float(np.median(table[:, 2] / np.maximum(table[:, 3], 1.0)))
        told = [a.output_tokens / a.usual_output for a in record.answers if a.usual_output]
        return replace(
            fresh,
            first_token_p50_ms=_two_digits(int(np.quantile(first, 0.5))),
            first_token_p95_ms=_two_digits(int(np.quantile(first, 0.95))),
            us_per_token=_two_digits(int(slope * 1_000)),
            completion_p99_ms=max(1, _two_digits(int(np.quantile(latency, 0.99)))),
            token_ratio_ppm=_two_digits(int(ratio * PPM)) or PPM,
            verbosity_ppm=_two_digits(int(float(np.mean(told)) * PPM))
            if len(told) >= ENOUGH_ANSWERS
            else PPM,
        )


def _two_digits(value: int) -> int:
    """Rounded up to two significant digits."""
    scale: int = 10 ** max(0, len(str(value)) - 2)
    return -(-value // scale) * scale


def _moved(before: Conditions, after: Conditions) -> bool:
    pairs = (
        (before.health_ppm, after.health_ppm),
        (before.first_token_p50_ms, after.first_token_p50_ms),
        (before.first_token_p95_ms, after.first_token_p95_ms),
        (before.us_per_token, after.us_per_token),
        (before.completion_p99_ms, after.completion_p99_ms),
        (before.token_ratio_ppm, after.token_ratio_ppm),
        (before.verbosity_ppm, after.verbosity_ppm),
    )
    return any(abs(new - old) > _MOVED * max(old, 1) for old, new in pairs)
