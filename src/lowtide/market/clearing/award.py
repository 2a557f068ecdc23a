"""From groups back to tasks: who gets which place, and what stays firm when capacity has shrunk since the snapshot."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lowtide.market.clearing.arrays import Bools
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared
from lowtide.market.clearing.payment import POSTED, payments
from lowtide.values.canonical import sha256


class Award(NamedTuple):
    """A place of one task. `slot` 0 is now; money in nano-USD, `weight_micro` its surplus in µUSD."""

    task_id: str
    offer: str
    slot: int
    price_nano: int
    weight_micro: int


class Firm(NamedTuple):
    """What a round commits to: `awards` run now, `returned` task ids go to the next round."""

    awards: tuple[Award, ...]
    returned: tuple[str, ...]


def awards(
    instance: Instance, cleared: Cleared, key: bytes, rule: str = POSTED, settles: Bools | None = None
) -> list[Award]:
    """The place of every task that is served: by slot, least slack first, then by SHA-256(key ‖ task).

    Identical tasks share their group's places in the order of that hash: never by arrival, never by id.
    """
    price = payments(instance, cleared, rule, settles).tolist()
    group, pool, units = cleared.group.tolist(), cleared.pool.tolist(), cleared.units.tolist()
    weight = instance.weight[cleared.group, cleared.pool].tolist()
    by_slot = np.lexsort((cleared.pool, cleared.pool % instance.slot_count, cleared.group)).tolist()
    placed: list[tuple[tuple[int, int, bytes], Award]] = []
    drawn: list[tuple[bytes, str]] = []
    at, taken = -1, 0
    for entry in by_slot:
        if group[entry] != at:
            at, taken = group[entry], 0
            drawn = sorted((sha256(key + b"\x00" + task.encode()), task) for task in instance.tasks[at])
        slot, slack = instance.slot_of(pool[entry]), int(instance.slots[at])
        offer = instance.offer_of(pool[entry])
        for draw, task in drawn[taken : taken + units[entry]]:
            award = Award(task, offer, slot, price[entry], weight[entry])
            placed.append(((slot, slack, draw), award))
        taken += units[entry]
    placed.sort(key=lambda one: one[0])
    return [award for _, award in placed]


def firm(placed: Sequence[Award], capacity_now: Mapping[str, int] | None = None) -> Firm:
    """The first slot of a plan, cut to what offers can still carry; the rest of the plan is decided again next round.

    `capacity_now` is by offer in request slots, as it stands at the commit; an offer it does not name has none.
    None: nothing has changed since the snapshot. Those with the most slack are returned first.
    """
    left = None if capacity_now is None else dict(capacity_now)
    kept, returned = [], []
    for award in placed:
        if award.slot != 0:
            continue
        if left is not None:
            if left.get(award.offer, 0) <= 0:
                returned.append(award.task_id)
                continue
            left[award.offer] -= 1
        kept.append(award)
    return Firm(tuple(kept), tuple(returned))
