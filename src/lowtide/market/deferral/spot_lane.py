"""Spot lanes against the clock: they may win only where what catches a call that is taken back will be affordable too."""

from lowtide.market.book import Book
from lowtide.market.deferral.known import later
from lowtide.market.deferral.net import Net
from lowtide.market.deferral.safety import rescue_fits
from lowtide.market.eligibility import LossReason
from lowtide.market.spot import Inputs, Spot, clear, without
from lowtide.market.task import Task


def over_net(task: Task, book: Book, inputs: Inputs, auction_key: bytes, spot: Spot, net: Net) -> Spot:
    """The auction as it is where a rescue at the net is sure to be within the budget, else without its spot bids."""
    lanes = book.on_lanes(inputs.preemptible)
    if not any(lanes[bid.row] for bid in spot.top):
        return spot
    then = clear(task, book, later(inputs), net.return_by, auction_key)
    if rescue_fits(task, book, inputs, net.return_by, spot, then):
        return spot
    return without(spot, lanes, LossReason.TOO_LATE, auction_key)
