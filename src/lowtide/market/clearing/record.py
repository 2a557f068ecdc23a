"""The record of a call auction: one line for the round, one short line for each task that it placed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lowtide.market.auction import CORE
from lowtide.market.clearing.award import Award
from lowtide.market.clearing.call import clear_call
from lowtide.market.clearing.flow import solver_name
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared, Verdict, outcome_from_values, outcome_values, verify
from lowtide.market.clearing.payment import POSTED
from lowtide.market.record import auction_key
from lowtide.values.canonical import canonical

CALL = "call"


@dataclass(frozen=True, slots=True)
class Round:
    """What names a round: its auction's id, the instant (µs) it was decided as of, the book that bids came from.

    `slot_us` is the length of a slot, `gap_ppm` the gap that was asked for, `rule` how winners are paid.
    `contended` are the offers of which more is wanted than they carry: others stand for what a task would else do.
    """

    id: str
    as_of: int
    book_version: int
    book_digest: str
    slot_us: int
    gap_ppm: int = 0
    rule: str = POSTED
    contended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayedCall:
    """A round checked again. `identical` is None where it was not solved again (another solver, or out of time)."""

    cleared: Cleared
    verdict: Verdict
    identical: bool | None

    @property
    def stands(self) -> bool:
        """Whether everything that could be checked holds."""
        return not self.verdict.faults and self.identical is not False


def call_line(call: Round, instance: Instance, cleared: Cleared) -> bytes:
    """The canonical JSON line of a round.

    Prices and capabilities are the book's; what the book does not know stands here: capacities as they were left,
    groups with their tasks, and the outcome with its certificate.
    """
    named = {"contended": list(call.contended)} if call.contended else {}
    return canonical(
        named
        | {
            "type": "auction",
            "core": CORE,
            "kind": CALL,
            "id": call.id,
            "as_of": call.as_of,
            "book": {"version": call.book_version, "digest": call.book_digest},
            "rule": call.rule,
            "settlement": "fixed",
            "slot_us": call.slot_us,
            "slots": instance.slot_count,
            "gap_ppm": call.gap_ppm,
            "offers": list(instance.offers),
            "capacity": instance.capacity.tolist(),
            "groups": [
                [key, list(ids)] for key, ids in zip(instance.group_keys, instance.tasks, strict=True)
            ],
            "outcome": outcome_values(cleared),
        }
    )


def place_line(call: Round, award: Award) -> bytes:
    """The canonical JSON line of one task that a round placed. Money in nano-USD, `surplus` in µUSD."""
    return canonical(
        {
            "type": "place",
            "auction_id": call.id,
            "task_id": award.task_id,
            "offer": award.offer,
            "slot": award.slot,
            "price": award.price_nano,
            "surplus": award.weight_micro,
        }
    )


def replay_call(line: bytes, instance: Instance, epoch_seed: bytes) -> ReplayedCall:
    """Check a round's record against the instance built anew from its book and tasks, with the seed of its hour.

    Feasibility, objective and certificate are always checked; it is solved again only by the solver and version that
    the record names.
    """
    stored: dict[str, Any] = orjson.loads(line)
    cleared = outcome_from_values(stored["outcome"])
    verdict = verify(instance, cleared)
    identical = None
    if cleared.solver == solver_name() and cleared.how != "timed_out":
        again = clear_call(instance, auction_key(epoch_seed, stored["id"]), gap_ppm=stored["gap_ppm"])
        same = canonical(outcome_values(again)) == canonical(stored["outcome"])
        identical = same and bool(np.array_equal(instance.capacity, stored["capacity"]))
    return ReplayedCall(cleared, verdict, identical)
