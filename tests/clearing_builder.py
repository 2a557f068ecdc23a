"""Call auctions in a line: tasks by what they would pay and offers by what they ask, in µUSD."""

from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.instance import NO_LIMIT, HeldTasks, Instance, Pools, build

KEY = b"k" * 32
MICRO = 1_000


@dataclass(frozen=True)
class Wants:
    """Identical tasks: `asks` maps an offer to its price for each slot (one price: the same in all), in µUSD."""

    name: str
    budget: int
    asks: dict
    count: int = 1
    slots: int = 99
    delay: int = 0
    value: int = NO_LIMIT
    kind: str = ""

    @property
    def needs(self):
        return self.kind or self.name


def auction(wants, capacity, slots=1, order=None, quality=1_000_000):
    """An instance; `capacity` maps an offer to its request slots, one number or one a slot. `order` permutes all."""
    offers = list(capacity)
    tasks = [(one, f"{one.name}{number}") for one in wants for number in range(one.count)]
    kinds = list(dict.fromkeys(one.needs for one in wants))
    if order is not None:
        order.shuffle(offers)
        order.shuffle(tasks)
        order.shuffle(kinds)
    by_kind = {one.needs: one for one in wants}
    shape = (len(kinds), len(offers), slots)
    expected, eligible = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for row, kind in enumerate(kinds):
        for column, offer in enumerate(offers):
            if offer in by_kind[kind].asks:
                expected[row, column] = np.array(by_kind[kind].asks[offer]) * MICRO
                eligible[row, column] = True
    held = HeldTasks(
        [name for _, name in tasks],
        np.array([kinds.index(one.needs) for one, _ in tasks], np.int64),
        np.array([one.value if one.value < 0 else one.value * MICRO for one, _ in tasks], np.int64),
        np.array([one.budget if one.budget < 0 else one.budget * MICRO for one, _ in tasks], np.int64),
        np.array([one.delay * MICRO for one, _ in tasks], np.int64),
        np.zeros(len(tasks), np.int64),
        np.array([one.slots for one, _ in tasks], np.int64),
    )
    room = np.array([np.broadcast_to(capacity[name], slots) for name in offers], np.int64).reshape(-1, slots)
    pools = Pools(offers, kinds, expected, eligible, np.full(shape[:2], quality), room)
    return build(held, pools)


def places(instance: Instance, cleared):
    """{(kind, offer, slot): units}."""
    found = {}
    for group, pool, units in zip(cleared.group, cleared.pool, cleared.units, strict=True):
        kind = instance.kinds[instance.kind[group]]
        at = (kind, instance.offer_of(int(pool)), instance.slot_of(int(pool)))
        found[at] = found.get(at, 0) + int(units)
    return found
