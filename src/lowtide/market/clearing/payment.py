"""What is paid in a call auction: each its own price, or one price for all that clear together (merit order)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Bools, Ints
from lowtide.market.clearing.instance import Instance
from lowtide.market.clearing.outcome import Cleared

POSTED, UNIFORM = "posted", "uniform"
RULES = (POSTED, UNIFORM)


@dataclass(frozen=True, slots=True)
class MeritOrder:
    """A market of one good: `units` that clear, the marginal `price` (None if nothing does), and who is in.

    `sold` is by ask, `bought` by demand; `welfare` is worth less cost.
    """

    units: int
    price: int | None
    welfare: int
    sold: tuple[int, ...]
    bought: tuple[int, ...]


def merit_order(asks: Sequence[tuple[int, int]], demands: Sequence[tuple[int, int]]) -> MeritOrder:
    """Clear (price, units) asks against (worth, units) demands: cheapest asks first, worthiest demands first.

    All pay the highest accepted ask; an order of zero volume never sets it. Prices in one unit of the caller's.
    """
    sold, bought = [0] * len(asks), [0] * len(demands)
    sellers = sorted(range(len(asks)), key=lambda index: (asks[index][0], index))
    buyers = sorted(range(len(demands)), key=lambda index: (-demands[index][0], index))
    price, welfare = None, 0
    seller = 0
    for buyer in buyers:
        worth, wanted = demands[buyer]
        while bought[buyer] < wanted and seller < len(sellers):
            ask = sellers[seller]
            free = asks[ask][1] - sold[ask]
            if free <= 0:
                seller += 1
                continue
            if asks[ask][0] > worth:
                break
            taken = min(free, wanted - bought[buyer])
            sold[ask] += taken
            bought[buyer] += taken
            price = asks[ask][0]
            welfare += taken * (worth - price)
    return MeritOrder(sum(sold), price, welfare, tuple(sold), tuple(bought))


def payments(instance: Instance, cleared: Cleared, rule: str = POSTED, settles: Bools | None = None) -> Ints:
    """What a task of each assignment pays, nano-USD, in the order of `cleared.group`.

    `posted`: its offer's own price. `uniform`: the highest accepted ask among tasks of its kind in its slot, never
    more than min(V, budget). `settles` says by offer (in the instance's order) who is paid through us; others get
    their own price. Between ask and ceiling always, so nobody loses by taking part.
    """
    own = instance.expected_nano[instance.kind[cleared.group], cleared.pool]
    if rule == POSTED or not len(own):
        return own
    kind, slot = instance.kind[cleared.group], cleared.pool % instance.slot_count
    together = kind * instance.slot_count + slot
    marginal = np.zeros(len(instance.kinds) * instance.slot_count, np.int64)
    np.maximum.at(marginal, together, own)
    offer = cleared.pool // instance.slot_count
    paid = np.minimum(marginal[together], instance.ceiling_nano[cleared.group, offer])
    paid = np.maximum(paid, own)
    return paid if settles is None else np.where(settles[offer], paid, own)
