"""Hindsight: the cheapest that a task could have cost, had every price been known; and what all tasks' waiting came to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lowtide.market.quote import Prices
from lowtide.market.usage import Usage, charge
from lowtide.values.instants import HOUR_US

CLASSES_H = (2, 6, 12, 24)
"""Slack classes: up to so many hours from arrival to deadline; longer ones are a class of their own."""


class Standing(NamedTuple):
    """A quote over the time `[start, end)` in which it stood, µs; `prices` None where it could not win."""

    start: int
    end: int | None
    sequence: int
    prices: Prices | None


class Cheapest(NamedTuple):
    """The cheapest start: its cost (nano-USD), when (µs), and at which offer."""

    cost_nano: int
    at: int
    offer_id: str


def clairvoyant(
    quotes: Mapping[str, Sequence[Standing]], usage: Usage, begin: int, end: int
) -> Cheapest | None:
    """The cheapest start in `[begin, end]` at any of the offers, by the prices that truly held; the earliest of equals.

    None where nothing could be bought in all that time.
    """
    found: list[Cheapest] = []
    for offer_id, standing in sorted(quotes.items()):
        edges = {begin} | {
            edge for quote in standing for edge in (quote.start, quote.end) if edge is not None
        }
        for at in sorted(edge for edge in edges if begin <= edge <= end):
            prices = _in_force(standing, at)
            if prices is not None and prices.known:
                found.append(Cheapest(charge(prices, usage), at, offer_id))
    return min(found, default=None)


def _in_force(standing: Sequence[Standing], at: int) -> Prices | None:
    there = [quote for quote in standing if quote.start <= at and (quote.end is None or at < quote.end)]
    return max(there, key=lambda quote: (quote.sequence, quote.start)).prices if there else None


class Ended(NamedTuple):
    """A task that waited: slack (µs), what was paid, and what at once and the clairvoyant's start would have cost."""

    slack_us: int
    paid_nano: int
    immediate_nano: int | None
    clairvoyant_nano: int | None
    deadline_met: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waiting came to for the tasks of one slack class, whose `hours` are None beyond the last.

    `captured_ppm` is the share of the possible saving that was made; None where nothing could be saved. Regret is what
    was paid beyond the clairvoyant's cost. `dearer` tasks paid more than at once.
    """

    hours: int | None
    tasks: int
    compared: int
    paid_nano: int
    immediate_nano: int
    clairvoyant_nano: int
    captured_ppm: int | None
    regret_mean_nano: int
    regret_p95_nano: int
    dearer: int
    missed: int


def by_class(tasks: Iterable[Ended]) -> list[Waiting]:
    """The tasks by slack class, shortest first; classes without tasks are left out."""
    sorted_in: dict[int | None, list[Ended]] = {}
    for task in tasks:
        hours = next((hours for hours in CLASSES_H if task.slack_us <= hours * HOUR_US), None)
        sorted_in.setdefault(hours, []).append(task)
    order = [hours for hours in (*CLASSES_H, None) if hours in sorted_in]
    return [_waiting(hours, sorted_in[hours]) for hours in order]


def _waiting(hours: int | None, tasks: Sequence[Ended]) -> Waiting:
    """Only tasks that were served, and whose costs at once and in hindsight are known, are compared."""
    known = [
        (task.paid_nano, task.immediate_nano, task.clairvoyant_nano)
        for task in tasks
        if task.immediate_nano is not None and task.clairvoyant_nano is not None
    ]
    paid, at_once, best = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0, 0)
    regrets = sorted(max(0, own - least) for own, _, least in known)
    return Waiting(
        hours=hours,
        tasks=len(tasks),
        compared=len(known),
        paid_nano=paid,
        immediate_nano=at_once,
        clairvoyant_nano=best,
        captured_ppm=None if at_once <= best else (at_once - paid) * 1_000_000 // (at_once - best),
        regret_mean_nano=sum(regrets) // len(regrets) if regrets else 0,
        regret_p95_nano=regrets[(95 * len(regrets) - 1) // 100] if regrets else 0,
        dearer=sum(own > now for own, now, _ in known),
        missed=sum(not task.deadline_met for task in tasks),
    )
