"""What explanations say of lanes: batches and their rescue, spot calls and what catches them; offers' names, instants."""

from lowtide.market.book import Book
from lowtide.market.deferral.batch_lane import BatchBid
from lowtide.market.deferral.net import PREEMPTIBLE, Net
from lowtide.market.offer import Offer
from lowtide.values.instants import SECOND_US, rfc3339
from lowtide.values.money import usd


def by_batch(batch: BatchBid) -> str:
    """Why a batch was worth its risk."""
    share = f"{batch.done_ppm / 10_000:.0f} %"
    return (
        f", in a batch: it is back in time with a probability of {share}, else the task is rescued on another lane at "
        f"{rfc3339(batch.rescue_at)}; with that it is expected to cost ${usd(batch.blended_nano)}."
    )


def over_net(book: Book, net: Net) -> str:
    """What catches the task if its call is taken back."""
    return (
        f"; if the call is taken back, by {when(net.return_by)} at the latest there is time left for a safe run at "
        f"{name_of(book.rows[net.row].offer)}"
    )


def too_late(offer: Offer, p99_ms: int, net: Net | None) -> str:
    """Why a bid does not fit the clock; a spot bid must leave time for what catches it."""
    takes = f"its p99 completion of {p99_ms} ms does not fit before"
    if net is None or offer.lane not in PREEMPTIBLE:
        return f"{takes} the deadline"
    if net.left_spot:
        return "a spot call may be taken back, and the job is behind: too little of it is done for the time that has passed"
    return (
        f"a spot call may be taken back, and {takes} {rfc3339(net.return_by)}, from when on a safe run at another offer has "
        "to begin, or that run would not be sure to be within the budget"
    )


def name_of(offer: Offer) -> str:
    """An offer as sentences name it."""
    lane = "" if offer.lane == "standard" else f" ({offer.lane})"
    return f"{offer.provider}'s {offer.model}{lane}"


def when(us: int) -> str:
    """An instant to the second, as sentences tell it."""
    return rfc3339(us - us % SECOND_US)
