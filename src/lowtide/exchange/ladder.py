"""The ladder of bids against the clock: how long a call may take, and who is called after it failed. Pure.

A call that fails at the worst minute must leave the next provider its time. Times are µs.
"""

from collections.abc import Collection, Sequence

from lowtide.exchange.award import Candidate
from lowtide.market.deferral.net import GUARD_US
from lowtide.values.instants import SECOND_US

MARGIN_US = SECOND_US // 2
"""What it takes to write a failure and start the next call."""


def call_limit(
    ladder: Sequence[Candidate], called: Candidate, left: int, failed: Collection[str] = ()
) -> int:
    """How long the call may take where so much time is left: what the quickest elsewhere needs stays over.

    The guard stays over too, for a restart, but for that no call is cut below its own p99. All of the time where it
    is too short for two, unless another that has not `failed` (providers) would need less than half of it.
    """
    own, needed = _p99(called), _quickest_elsewhere(ladder, {called.offer.provider})
    if needed is None:
        needed = own
    if left - needed - MARGIN_US >= own:
        return max(own, left - needed - GUARD_US)
    fresh = _quickest_elsewhere(ladder, {called.offer.provider, *failed})
    return left if fresh is None or left <= 2 * fresh + MARGIN_US else left - fresh - MARGIN_US


def next_step(
    ladder: Sequence[Candidate], step: int, left: int, pauses: Sequence[int], hopeless: Collection[int] = ()
) -> int | None:
    """The next place of the ladder that can still be in time after its pause; None where there is none.

    Places count on beyond the end: `step` + 1 … `step` + length, each with its pause, are looked at in that order.
    Another bid of the provider that just failed is passed over where trying it could leave too little for others.
    """
    failed = ladder[step % len(ladder)].offer.provider
    fits = [
        place
        for place, pause in enumerate(pauses, step + 1)
        if (bid := ladder[place % len(ladder)]).row not in hopeless and pause + _p99(bid) <= left
    ]
    others = [place for place in fits if ladder[place % len(ladder)].offer.provider != failed]
    if not others:
        return fits[0] if fits else None
    needed = min(_p99(ladder[place % len(ladder)]) for place in others) + MARGIN_US
    return next(
        place
        for place in fits
        if place in others or pauses[place - step - 1] + _p99(ladder[place % len(ladder)]) + needed <= left
    )


def _quickest_elsewhere(ladder: Sequence[Candidate], providers: Collection[str]) -> int | None:
    return min((_p99(bid) for bid in ladder if bid.offer.provider not in providers), default=None)


def _p99(bid: Candidate) -> int:
    return 1_000 * bid.p99_ms
