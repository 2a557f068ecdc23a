"""A round of a call auction as a market might meet it: prices that swing by the hour, budgets over a decade."""

import numpy as np

from lowtide.market.clearing.instance import NO_LIMIT, HeldTasks, Pools

_KINDS = 40
_DEMAND = 0.9


def random_round(tasks: int, groups: int, offers: int, slots: int, seed: int = 3) -> tuple[HeldTasks, Pools]:
    """Held tasks in at most so many groups of identical ones, and pools that carry a ninth more than they are."""
    dice = np.random.default_rng(seed)
    size = 10 ** dice.uniform(-0.5, 0.7, _KINDS)
    kind = dice.integers(0, _KINDS, groups)
    budget = (size[kind] * 10 ** dice.uniform(5.5, 6.5, groups)).astype(np.int64)
    delay = np.where(dice.random(groups) < 0.5, 0, dice.integers(0, 20_000, groups))
    ends = dice.integers(1, slots + 1, groups)
    group = np.sort(np.concatenate([np.arange(groups), dice.integers(0, groups, tasks - groups)]))
    held = HeldTasks(
        [f"task_{number}" for number in range(tasks)],
        kind[group],
        np.full(tasks, NO_LIMIT),
        budget[group],
        delay[group],
        np.zeros(tasks, np.int64),
        ends[group],
    )
    swing = 1 + 0.5 * np.sin(np.arange(slots) * np.pi / 12 + dice.uniform(0, 6, (offers, 1)))
    price = 10 ** dice.uniform(5, 6.3, (offers, 1)) * swing * dice.uniform(0.8, 1.2, (offers, slots))
    pools = Pools(
        [f"offer_{number}" for number in range(offers)],
        [f"kind_{number}" for number in range(_KINDS)],
        (size[:, None, None] * price).astype(np.int64),
        np.broadcast_to((dice.random((_KINDS, offers)) < 0.7)[:, :, None], (_KINDS, offers, slots)),
        np.full((_KINDS, offers), 900_000),
        dice.multinomial(int(tasks / _DEMAND), np.full(offers * slots, 1 / (offers * slots))).reshape(
            offers, slots
        ),
    )
    return held, pools
