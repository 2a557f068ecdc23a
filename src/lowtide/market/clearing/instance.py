"""What a call auction decides from: groups of identical held tasks, and pools of capacity (offer, slot)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowtide.market.clearing.arrays import Bools, Ints, Weights, frozen
from lowtide.values.canonical import canonical
from lowtide.values.errors import BadValue

MAX_WEIGHT_MICRO = 2**31 - 1
MAX_CELLS = 2**28
NO_LIMIT = -1
_NANO_A_MICRO = 1_000
_PPM = 1_000_000
_CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class HeldTasks:
    """The held tasks as columns, one entry a task. Money in nano-USD, time in slots.

    `kind` names what a task needs (size, features, floor): a row of `Pools`. `value_nano` is the worth of an accepted
    answer and `max_cost_nano` the budget; NO_LIMIT where not given, and with neither a task has no arc.
    `delay_nano` is what a slot of waiting costs, `waited` the slots since arrival, `slots` how many slots, counted
    from now, end in time for the deadline.
    """

    ids: Sequence[str]
    kind: Ints
    value_nano: Ints
    max_cost_nano: Ints
    delay_nano: Ints
    waited: Ints
    slots: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """What offers ask and can carry, by slot. Shapes: K kinds, O offers, S slots; slot 0 begins now.

    `expected_nano[K, O, S]` is the expected cost of one task of the kind, `eligible[K, O, S]` whether the bid may win
    (MARKET.md section 4), `quality_ppm[K, O]` the probability of acceptance, `capacity[O, S]` in request slots,
    `forced[O, S]` the part of it that arrivals with no slack are expected to need (taken off).
    """

    offers: Sequence[str]
    kinds: Sequence[str]
    expected_nano: Ints
    eligible: Bools
    quality_ppm: Ints
    capacity: Ints
    forced: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A call auction in canonical order: the same tasks and offers in any order give the same instance.

    G groups, P = O·S pools, offer-major. `tasks[g]` are ids in order; `count[g]` their number, `slots[g]` their slack.
    `weight[g, p]` is the surplus in whole µUSD, 0 where there is no arc. `ceiling_nano[g, o]` is min(V, budget).
    """

    offers: tuple[str, ...]
    kinds: tuple[str, ...]
    slot_count: int
    group_keys: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]
    kind: Ints
    count: Ints
    slots: Ints
    capacity: Ints
    expected_nano: Ints
    ceiling_nano: Ints
    weight: Weights
    digest: str

    @property
    def group_count(self) -> int:
        """G."""
        return len(self.group_keys)

    @property
    def pool_count(self) -> int:
        """P."""
        return len(self.capacity)

    def slot_of(self, pool: int) -> int:
        """The slot of a pool, 0 being now."""
        return pool % self.slot_count

    def offer_of(self, pool: int) -> str:
        """The id of a pool's offer."""
        return self.offers[pool // self.slot_count]


def request_slots(concurrency: int, slot_us: int, service_us: int) -> int:
    """How many requests of a service time (µs) a slot (µs) carries at a concurrency, rounded down."""
    return concurrency * slot_us // max(service_us, 1)


def build(held: HeldTasks, pools: Pools) -> Instance:
    """The instance of a round.

    Raises BadValue: `auction_shape` (columns that do not fit), `auction_too_large` (shard it), `weight_out_of_range`.
    """
    _check_shapes(held, pools)
    asked = _in_order(pools)
    distinct, members = _grouped(_identity(held, pools), held.ids)
    slots = asked.capacity.shape[1]
    if len(distinct) * asked.capacity.size > MAX_CELLS:
        raise BadValue(
            "auction_too_large",
            f"{len(distinct)} groups × {asked.capacity.size} pools are more than one round takes. "
            "Shard the round by model, or round budgets so that more tasks are identical.",
        )
    ceiling = _ceilings(distinct, asked.quality_ppm)
    weight = _weights(distinct, ceiling, asked)
    keys = tuple("|".join([asked.kinds[row[0]], *map(str, row[1:])]) for row in distinct.tolist())
    return Instance(
        tuple(asked.offers),
        tuple(asked.kinds),
        slots,
        keys,
        members,
        frozen(distinct[:, 0]),
        frozen(np.array([len(ids) for ids in members], np.int64)),
        frozen(distinct[:, 5]),
        frozen(asked.capacity.reshape(-1)),
        frozen(asked.expected_nano.reshape(len(asked.kinds), asked.capacity.size)),
        frozen(ceiling),
        weight,
        _digest(asked, keys, members, weight),
    )


def _in_order(pools: Pools) -> Pools:
    """Offers and kinds by name, and capacity net of forced arrivals."""
    offers = sorted(range(len(pools.offers)), key=pools.offers.__getitem__)
    kinds = sorted(range(len(pools.kinds)), key=pools.kinds.__getitem__)
    both = np.ix_(kinds, offers)
    forced = 0 if pools.forced is None else pools.forced
    return Pools(
        [pools.offers[index] for index in offers],
        [pools.kinds[index] for index in kinds],
        pools.expected_nano[both].astype(np.int64),
        pools.eligible[both],
        pools.quality_ppm[both].astype(np.int64),
        np.maximum(pools.capacity - forced, 0)[offers].astype(np.int64),
    )


def _identity(held: HeldTasks, pools: Pools) -> Ints:
    """What makes tasks identical, a row a task: arrival matters only where waiting costs, slack only within the plan."""
    rank = {kind: place for place, kind in enumerate(sorted(pools.kinds))}
    ranks = np.array([rank[kind] for kind in pools.kinds], np.int64)
    waited = np.where(held.delay_nano > 0, held.waited, 0)
    kind = ranks[held.kind] if len(held.ids) else held.kind
    slots = np.clip(held.slots, 0, pools.capacity.shape[1])
    columns = (kind, held.value_nano, held.max_cost_nano, held.delay_nano, waited, slots)
    return np.stack(columns, axis=1).astype(np.int64)


def _check_shapes(held: HeldTasks, pools: Pools) -> None:
    kinds, offers, slots = pools.expected_nano.shape
    columns = (held.kind, held.value_nano, held.max_cost_nano, held.delay_nano, held.waited, held.slots)
    fits = (
        all(len(column) == len(held.ids) for column in columns)
        and (kinds, offers) == (len(pools.kinds), len(pools.offers)) == pools.quality_ppm.shape
        and pools.eligible.shape == pools.expected_nano.shape
        and pools.capacity.shape == (offers, slots)
        and (pools.forced is None or pools.forced.shape == (offers, slots))
        and len(set(pools.offers)) == offers
        and len(set(pools.kinds)) == kinds
        and len(set(held.ids)) == len(held.ids)
        and (not len(held.ids) or (int(held.kind.min()) >= 0 and int(held.kind.max()) < kinds))
    )
    if not fits:
        raise BadValue(
            "auction_shape", "The columns of a call auction do not fit together, or an id stands twice."
        )


def _grouped(columns: Ints, ids: Sequence[str]) -> tuple[Ints, tuple[tuple[str, ...], ...]]:
    if not len(ids):
        return columns, ()
    order = np.lexsort(columns.T[::-1])
    ordered = columns[order]
    changed = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    starts = np.flatnonzero(changed)
    ends = np.append(starts[1:], len(ids))
    at = order.tolist()
    members = tuple(
        tuple(sorted(ids[index] for index in at[start:end]))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    return ordered[starts], members


def _ceilings(distinct: Ints, quality_ppm: Ints) -> Ints:
    """min(V(q), budget) by group and offer; 0 where a task gives neither."""
    kind, value, most = distinct[:, 0], distinct[:, 1:2], distinct[:, 2:3]
    # Split so that the product stays within int64 up to a value of $9 billion.
    worth = value // _PPM * quality_ppm[kind] + value % _PPM * quality_ppm[kind] // _PPM
    return np.where(
        value == NO_LIMIT,
        np.maximum(most, 0),
        np.where(most == NO_LIMIT, worth, np.minimum(worth, most)),
    ).astype(np.int64)


def _weights(distinct: Ints, ceiling: Ints, asked: Pools) -> Weights:
    expected, eligible = asked.expected_nano, asked.eligible
    slot = np.arange(expected.shape[2], dtype=np.int64)
    weight = np.zeros((len(distinct), expected.shape[1] * expected.shape[2]), np.int32)
    for start in range(0, len(distinct), _CHUNK):
        part = distinct[start : start + _CHUNK]
        kind, delay, waited, slots = part[:, 0], part[:, 3], part[:, 4], part[:, 5]
        waiting = delay[:, None] * (slot + waited[:, None])
        surplus = ceiling[start : start + _CHUNK, :, None] - waiting[:, None, :] - expected[kind]
        surplus //= _NANO_A_MICRO
        may = eligible[kind] & (slot < slots[:, None])[:, None, :]
        surplus[~may] = 0
        if surplus.size and int(surplus.max()) > MAX_WEIGHT_MICRO:
            raise BadValue(
                "weight_out_of_range",
                f"A surplus of {int(surplus.max())} µUSD is beyond {MAX_WEIGHT_MICRO}, the most a call auction takes.",
            )
        weight[start : start + _CHUNK] = np.maximum(surplus, 0).reshape(len(part), -1)
    weight.flags.writeable = False
    return weight


def _digest(
    asked: Pools, keys: tuple[str, ...], members: tuple[tuple[str, ...], ...], weight: Weights
) -> str:
    capacity, expected = asked.capacity, asked.expected_nano
    names = [list(asked.offers), list(keys), [list(ids) for ids in members], list(capacity.shape)]
    digest = hashlib.sha256(canonical(names))
    for array, dtype in ((capacity, "<i8"), (expected, "<i8"), (weight, "<i4")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()
