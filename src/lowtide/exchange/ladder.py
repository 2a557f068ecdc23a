"""The ladder of bids against the clock: how long a call may take, and who is called after it failed. Pure.

A call that fails at the worst minute must leave the next provider its time. Times are µs.
"""

from collections.abc import Collection, Sequence

from lowtide.exchange.award import Candidate
from lowtide.market.deferral.net import GUARD_US
from lowtide.values.instants import SECOND_US

MARGIN_US = SECOND_US // 2
"""What it takes to write a failure and start the next call."""
FIRST_PAUSE_US = 5 * SECOND_US
"""About how long a task with time left first lets alone what failed it; with less time than that it does not wait."""


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


def latest_start(ladder: Sequence[Candidate], deadline: int, hopeless: Collection[int] = ()) -> int | None:
    """The last instant from which the best bid may fail and the best elsewhere still finish; None where none is left.

    As MARKET.md section 9 says of what is held; what may be taken back does not count beside others.
    """
    left = [bid for bid in ladder if bid.row not in hopeless]
    safe = [bid for bid in left if bid.return_by is None] or left
    if not safe:
        return None
    best = safe[0]
    second = next((bid for bid in safe if bid.offer.provider != best.offer.provider), best)
    return deadline - _p99(best) - _p99(second) - GUARD_US


def passes_left(tries: int, kept: int, length: int) -> int:
    """How many passes over a ladder of that `length` so many tries are, where the `kept` ones are passes of their own."""
    return -(-max(0, tries - kept) // max(1, length)) + min(tries, kept)


def next_try(first: int, now: int, latest: int, passes: int, soonest: int) -> int | None:
    """When a task tries again whose bids have all failed: each pause longer than the last, the last pass at `latest`.

    So the time since its `first` call grows by the same factor from pass to pass. None where there is no time to wait.
    """
    if passes < 1 or latest - now < FIRST_PAUSE_US or soonest > latest:
        return None
    if passes == 1:
        return latest
    passed = max(now - first, FIRST_PAUSE_US)
    factor = (1 + (latest - now) / passed) ** (1 / passes)
    return min(latest, max(soonest, now + int(passed * (factor - 1))))


def _quickest_elsewhere(ladder: Sequence[Candidate], providers: Collection[str]) -> int | None:
    return min((_p99(bid) for bid in ladder if bid.offer.provider not in providers), default=None)


def _p99(bid: Candidate) -> int:
    return 1_000 * bid.p99_ms
