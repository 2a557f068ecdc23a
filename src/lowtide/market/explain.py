"""What a decision looked like from each bid's side, made when somebody reads; never stored."""

from collections import Counter
from dataclasses import dataclass

from lowtide.market.auction import AWARDED, HELD, NO_OFFERS, QUEUED, Decision
from lowtide.market.bid import input_tokens
from lowtide.market.book import GENERAL, Book, quality_in
from lowtide.market.columns import full
from lowtide.market.deferral.continuation import POOL
from lowtide.market.deferral.known import AGAIN, SPOT_RETURN, Deferral, slot_after_latest_start
from lowtide.market.eligibility import LossReason, answer_ms, completion_p99_ms, progress
from lowtide.market.lane_words import by_batch, name_of, over_net, too_late, when
from lowtide.market.live import LiveBid
from lowtide.market.offer import Offer
from lowtide.market.quote import Prices
from lowtide.market.reputation import lower_bound_ppm
from lowtide.market.spot import Inputs, best_rows
from lowtide.market.task import Task
from lowtide.values.money import usd

_NAMED = 8
_PRICED = {
    LossReason.NONE,
    LossReason.OUTBID,
    LossReason.LOST_TIE,
    LossReason.OVER_BUDGET,
    LossReason.BELOW_RESERVE,
}


@dataclass(frozen=True, slots=True)
class BidView:
    """One bid as reviewed. Money in nano-USD, quality in ppm, latency of the whole answer in ms.

    `rank` among the bids that were still in; `min_to_win_nano` the price at which the bid would have tied, None where
    no price would have done. `live` is what its bidder answered, None where nobody was asked for it.
    """

    row: int
    offer: Offer
    prices: Prices | None
    bid_nano: int | None
    worst_nano: int | None
    claimed_ppm: int | None
    verified_ppm: int
    lower_bound_ppm: int
    samples_milli: int
    p50_ms: int
    p95_ms: int
    completion_p99_ms: int
    eligible: bool
    loss_reason: str | None
    score_nano: int | None
    rank: int | None
    min_to_win_nano: int | None
    live: LiveBid | None


def bid_views(
    task: Task, inputs: Inputs, as_of: int, auction_key: bytes, decision: Decision
) -> list[BidView]:
    """Every bid of a decision, at the prices bid: those still in by rank, then the others by how far they came.

    What the task's own lists leave out comes last: in a big book it is most of it, and says least.
    """
    spot, book = decision.spot, decision.spot.book
    live = {bid.row: bid for bid in inputs.live}
    ranked = best_rows(book, spot.reason, spot.score, auction_key, len(book))
    if decision.batch is not None:
        ranked = [decision.batch.ranked.row, *ranked]
    rank = {row: number + 1 for number, row in enumerate(ranked)}
    output = full(spot.bids.expected_output, len(book))
    p50 = answer_ms(book.columns.first_token_p50, output, book.columns.us_per_token)
    p95 = answer_ms(book.columns.first_token_p95, output, book.columns.us_per_token)
    p99 = completion_p99_ms(book, spot.bids)
    views = []
    for number, row in enumerate(book.rows):
        reason = LossReason(int(decision.reasons[number]))
        quote = book.quote_at(number, as_of)
        priced = quote is not None and quote.prices.known and not row.offer.withdrawn
        mean, weight = quality_in(row.conditions, task.domain)
        views.append(
            BidView(
                number,
                row.offer,
                None if quote is None else quote.prices,
                int(spot.bids.expected[number]) if priced else None,
                spot.bids.worst_of(number) if priced else None,
                _claimed(row.offer, task.domain),
                mean,
                lower_bound_ppm(mean, weight, task.constraints.z_ppm),
                weight,
                int(p50[number]),
                int(p95[number]),
                int(p99[number]),
                int(spot.reason[number]) == 0,
                None if reason == LossReason.NONE else reason.code,
                int(spot.score[number]) if priced else None,
                rank.get(number),
                min_to_win(task, decision, number) if priced else None,
                live.get(number),
            )
        )
    views.sort(
        key=lambda view: (
            view.rank is None,
            view.rank or 0,
            -_interest(int(spot.reason[view.row])),
            view.bid_nano or 0,
            view.row,
        )
    )
    return views


def _interest(reason: int) -> int:
    """How far a bid came; those that the task itself left out tell nothing of the market."""
    return -1 if reason == LossReason.NOT_ALLOWED else progress(reason)


def min_to_win(task: Task, decision: Decision, row: int) -> int | None:
    """The bid (nano-USD) at which the row would have tied with the best other one or the reserve, within the budget.

    With neither it is the most that the budget admits. None where price is not what it lost on, where nothing decides
    the price, or where not even a free bid would do.
    """
    spot = decision.spot
    if LossReason(int(decision.reasons[row])) not in _PRICED:
        return None
    others = [bid.score_nano for bid in spot.top if bid.row != row][:1]
    against = others if spot.reserve_nano is None else [*others, spot.reserve_nano]
    bid, worst, budget = (
        int(spot.bids.expected[row]),
        spot.bids.worst_of(row),
        task.constraints.max_cost_nano,
    )
    ceiling = None if budget is None else (budget if worst == 0 else bid * budget // worst)
    if not against:
        return ceiling
    tie = int(spot.score[row]) + bid - max(against)
    price = tie if ceiling is None else min(tie, ceiling)
    return price if price >= 0 else None


def explanation(
    task: Task, book: Book, inputs: Inputs, decision: Decision, as_of: int, auction_key: bytes
) -> str:
    """A few sentences that say why it ended so, as of the instant (µs) it was decided."""
    lost = _lost(decision)
    if decision.outcome == AWARDED and decision.winner is not None:
        winner = book.rows[decision.winner.row].offer
        text = f"{name_of(winner)} won with a bid of ${usd(decision.winner.bid_nano)}"
        if len(decision.top) > 1:
            second = decision.top[1]
            lead = decision.winner.score_nano - second.score_nano
            text += (
                f", ahead of {name_of(book.rows[second.row].offer)} by ${usd(lead)} of surplus"
                if lead
                else f", by lot: {name_of(book.rows[second.row].offer)} offered exactly as much"
            )
        else:
            text += ", the only bid that met every limit"
        if decision.batch is not None:
            return text + by_batch(decision.batch) + lost
        if winner.lane in inputs.preemptible and decision.spot.net is not None:
            text += over_net(book, decision.spot.net)
        if decision.price_nano != decision.winner.bid_nano:
            text += f"; it is paid ${usd(decision.price_nano or 0)} ({decision.rule})"
        return text + "." + _could_not_wait(task, book, inputs, decision, as_of, auction_key) + lost
    if decision.outcome == HELD and decision.deferral is not None:
        return held_because(book, decision.deferral) + lost
    if decision.code == NO_OFFERS or decision.nearest is None:
        return "The market has no offers. Register a provider, an offer and a quote first."
    nearest = name_of(book.rows[decision.nearest].offer)
    if decision.code == LossReason.NOT_ALLOWED.code and (missing := _unknown_models(task, book)):
        return f"No offer of {' or '.join(missing)} is in the book, and the task admits nothing else."
    if decision.outcome == QUEUED:
        return f"No bid can win now ({decision.code}), but that passes; the nearest was {nearest}. It waits for one.{lost}"
    return f"No offer can serve this task: the nearest, {nearest}, lost on {decision.code}.{lost}"


def _could_not_wait(
    task: Task, book: Book, inputs: Inputs, decision: Decision, as_of: int, auction_key: bytes
) -> str:
    """Why a better price that is posted for before the deadline was not waited for."""
    if inputs.back_by is not None and inputs.back_by < as_of:
        return " No call that may be taken back: what is held and runs on such lanes leaves no room for one more safe run."
    if not inputs.may_wait:
        return " It did not wait: what is held already takes all the room there is before the deadlines."
    missed = slot_after_latest_start(task, book, inputs, as_of, auction_key, decision.spot)
    if missed is None:
        return ""
    return (
        f" From {when(missed.at)} {name_of(book.rows[missed.best.row].offer)} is to cost "
        f"${usd(missed.best.bid_nano)}, but to be sure of its deadline the task had to start by {when(missed.latest_start)}."
    )


def held_because(book: Book, plan: Deferral) -> str:
    """Why a task waits, until when, and when it starts at the latest."""
    offer = name_of(book.rows[plan.row].offer)
    best = plan.price_now_nano
    now = "Nobody can serve it now" if best is None else f"The best bid now is ${usd(best)}"
    if plan.policy in AGAIN:
        why = "took it back" if plan.policy == SPOT_RETURN else "is full for a moment"
        return (
            f"{now}; {offer} {why} and is to cost ${usd(plan.expected_nano)} when it is asked again, so it waits "
            f"until {when(plan.release_at)}. It starts by {when(plan.latest_start)} at the latest, to be done in time."
        )
    if plan.forecast is not None:
        whom = f"the cheapest offer of {book.rows[plan.row].offer.model}" if plan.policy == POOL else offer
        return (
            f"{now}; to wait for {whom} is forecast ({plan.policy}) to cost ${usd(plan.expected_nano)}, so it waits while "
            f"the best bid is above ${usd(plan.reservation_nano)}, and looks again at {when(plan.release_at)}. It starts "
            f"by {when(plan.latest_start)} at the latest, to be done in time."
        )
    spread = " (releases are spread over the slot's beginning)" if plan.release_at > plan.slot else ""
    return (
        f"{now}; {offer} is to cost ${usd(plan.expected_nano)} from {when(plan.slot)}, so it waits until "
        f"{when(plan.release_at)}{spread}. It starts by {when(plan.latest_start)} at the latest, to be done in time."
    )


def why_not(task: Task, book: Book, decision: Decision, view: BidView) -> str:
    """One sentence on why an offer did not win and what it would have had to bid, or to prove."""
    limits, reason, name = task.constraints, view.loss_reason, name_of(view.offer)
    if reason is None:
        return (
            f"{name} won."
            if decision.outcome == AWARDED
            else f"{name} is still in: the task is {decision.outcome}."
        )
    texts = {
        "quality_below_floor": f"its verified quality is {view.lower_bound_ppm / 1e6:.4f} at the task's confidence, "
        f"and the floor is {(limits.min_quality_ppm or 0) / 1e6:.4f}: it must prove that much",
        "too_slow": f"its p95 answer takes {view.p95_ms} ms, and the limit is {limits.max_latency_ms} ms",
        "too_late": too_late(view.offer, view.completion_p99_ms, decision.spot.net),
        "over_budget": f"its worst case is ${usd(view.worst_nano or 0)}, "
        f"and the budget is ${usd(limits.max_cost_nano or 0)}",
        "below_reserve": "it leaves the requester less than the reserve",
        "outbid": "another bid left the requester more",
        "lost_tie": "an equal bid won the lot",
        "context_too_long": f"about {_tokens(task, book, view.row)} input tokens and the answer exceed its context window "
        f"of {view.offer.context_window} tokens",
        "output_too_long": f"the task asks for up to {task.max_output} output tokens, "
        f"and it gives {view.offer.max_output_tokens}",
        "no_valid_quote": "no quote of it covers that instant: push one",
        "unpriced": "its input or output price is unknown: push a quote with both",
        "no_capacity": "it had no free place",
        "circuit_open": "it failed too often lately; it is probed again soon",
        "bid_timeout": "its bidder gave no answer before the auction closed",
        "bid_invalid": "its bidder's answer was no bid that can be taken",
        "bid_above_quote": "its bidder asked more than the offer's standing quote",
        "no_bid": "its bidder did not want to bid",
        "not_asked": "its bidder failed too often lately and is left out for a while",
    }
    said = f" ({view.live.said})" if view.live is not None and view.live.said else ""
    text = f"{name} lost ({reason}): {texts.get(reason, 'it does not offer what the task needs')}{said}."
    if reason in ("outbid", "over_budget", "below_reserve", "lost_tie"):
        text += (
            f" A bid of ${usd(view.min_to_win_nano)} would have tied."
            if view.min_to_win_nano is not None
            else " No price of its own would have won."
        )
    return text


def _lost(decision: Decision) -> str:
    """How many were ruled out by what, the latest tests first: one that nearly won counts more than dozens left out."""
    lost = Counter(decision.reasons.tolist())
    for still_in in (LossReason.NONE, LossReason.OUTBID, LossReason.LOST_TIE):
        lost.pop(still_in, None)
    if not lost:
        return ""
    ordered = sorted(lost, key=_interest, reverse=True)
    named = [f"{lost[reason]} {LossReason(reason).code}" for reason in ordered[:_NAMED]]
    rest = sum(lost[reason] for reason in ordered[_NAMED:])
    return f" Ruled out: {', '.join(named)}{f', and {rest} earlier' if rest else ''}."


def _claimed(offer: Offer, domain: str) -> int | None:
    claims = {claim.domain: claim.quality_ppm for claim in offer.claims}
    return claims.get(domain, claims.get(GENERAL, claims.get("general")))


def _tokens(task: Task, book: Book, row: int) -> int:
    return input_tokens(task, book.rows[row].conditions.token_ratio_ppm)  # type: ignore[return-value]


def _unknown_models(task: Task, book: Book) -> list[str]:
    """The models that the task names, where the book has none of them."""
    listed = {name for row in book.rows for name in (row.offer.model, row.offer.upstream_model)}
    asked = list(task.lists.models or ())
    return asked if listed.isdisjoint(asked) else []
