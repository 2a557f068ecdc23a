"""Spot lanes against the clock: they may win only where what catches a call that is taken back will be affordable too."""

from dataclasses import replace

from lowtide.market.book import Book
from lowtide.market.deferral.known import later
from lowtide.market.deferral.net import Net
from lowtide.market.deferral.safety import rescue_fits
from lowtide.market.eligibility import LossReason
from lowtide.market.spot import Inputs, Spot, clear, without
from lowtide.market.task import Task


def over_net(
    task: Task, book: Book, inputs: Inputs, as_of: int, auction_key: bytes, spot: Spot, net: Net
) -> Spot:
    """The auction as it is where a rescue at the net is sure to be within the budget, else without its spot bids.

    Nor where the task may not wait: its safe run has to start now, for later there may be no room for it.
    Where nobody else can serve the task now, and is not sure to be able to by then, spot bids compete as any; but not
    where somebody has only no place free: it queues for that.
    """
    lanes = book.on_lanes(inputs.preemptible)
    if not net.later and not any(lanes[bid.row] for bid in spot.top):
        return spot
    at = max(net.return_by, as_of)
    if inputs.may_wait and rescue_fits(
        task, book, inputs, at, spot, clear(task, book, later(inputs), at, auction_key)
    ):
        return spot
    if net.later and not (spot.reason[~lanes] == LossReason.NO_CAPACITY).any():
        return clear(task, book, replace(inputs, preemptible=()), as_of, auction_key)
    return without(spot, lanes, LossReason.TOO_LATE, auction_key)
