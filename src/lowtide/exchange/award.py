"""From a decision to what can be called: the awarded offer and those behind it, with the prices they are held to."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.market import Market
from lowtide.market.auction import Decision
from lowtide.market.book import Book
from lowtide.market.book_lines import prices_values
from lowtide.market.deferral.batch_lane import BATCH
from lowtide.market.deferral.crowding import Slot
from lowtide.market.deferral.net import PREEMPTIBLE
from lowtide.market.eligibility import completion_p99_ms
from lowtide.market.offer import Capacity, Offer
from lowtide.market.quote import Prices
from lowtide.market.record import AuctionIds, record_line
from lowtide.market.spot import Inputs
from lowtide.market.task import Task
from lowtide.store import attempts, auctions, batches, capacity, forecasts, log, providers
from lowtide.values.canonical import canonical
from lowtide.values.ids import new_id
from lowtide.values.instants import MINUTE_US
from lowtide.values.money import ceil_div


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bid that may be called: its offer, unit prices, bid, worst case and price (nano-USD), p99 completion (ms).

    `tokens` is what it takes of a tokens-per-minute limit; `places` what is sold at this price, where that is less than
    the offer has. `feed_id` is the feed whose live bid it is, `bid_until` (µs) the end of such a bid.
    `return_by` (µs): a spot call must be back by then, so that a safe run still fits if it is taken back.
    """

    row: int
    offer: Offer
    prices: Prices
    bid_nano: int
    worst_nano: int
    price_nano: int
    p99_ms: int
    tokens: int
    places: Capacity | None = None
    feed_id: str | None = None
    bid_until: int | None = None
    return_by: int | None = None

    @property
    def most_nano(self) -> int:
        """The most that may be captured: the worst case, raised as the rule raised the bid; nano-USD, rounded up."""
        return raised(self.worst_nano, self.bid_nano, self.price_nano)


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt that stands in the store as started."""

    id: str
    number: int
    candidate: Candidate
    started_at: int


class NoPlace(Exception):
    """The winner's reservation failed; decide again without its row."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is full")
        self.row = row


def raised(cost_nano: int, bid_nano: int, price_nano: int) -> int:
    """A cost at the quoted prices × price ÷ bid, where the rule pays more than the bid; rounded up."""
    return cost_nano if bid_nano in (0, price_nano) else ceil_div(cost_nano * price_nano, bid_nano)


def candidates(
    decision: Decision, as_of: int, feeds: Mapping[int, str] = MappingProxyType({})
) -> tuple[Candidate, ...]:
    """The bids still in, by rank, at the prices bid. The winner gets the rule's price, the later ones their own.

    `feeds` are the feeds that bid live, by row.
    """
    if not decision.top:
        return ()
    book = decision.spot.book
    p99 = completion_p99_ms(book, decision.spot.bids)
    found = []
    for bid in decision.top:
        quote = book.quote_at(bid.row, as_of)
        if quote is None:
            continue
        is_winner = decision.winner is not None and bid.row == decision.winner.row
        price = decision.price_nano if is_winner and decision.price_nano is not None else bid.bid_nano
        found.append(
            Candidate(
                bid.row,
                book.rows[bid.row].offer,
                quote.prices,
                bid.bid_nano,
                bid.worst_nano,
                price,
                int(p99[bid.row]),
                _tokens(decision, bid.row),
                quote.capacity,
                feeds.get(bid.row),
                quote.valid_until if bid.row in feeds else None,
                _return_by(decision, bid.row),
            )
        )
    return tuple(found)


def _return_by(decision: Decision, row: int) -> int | None:
    net, offer = decision.spot.net, decision.spot.book.rows[row].offer
    return None if net is None or offer.lane not in PREEMPTIBLE else net.return_by


def _tokens(decision: Decision, row: int) -> int:
    bids = decision.spot.bids
    given = bids.input_tokens if isinstance(bids.input_tokens, int) else int(bids.input_tokens[row])
    taken = bids.output_limit if isinstance(bids.output_limit, int) else int(bids.output_limit[row])
    return given + taken


async def write_auction(
    conn: AsyncConnection, ids: AuctionIds, task: Task, book: Book, inputs: Inputs, decision: Decision
) -> None:
    """Write the auction's row, its record, which is the log's line, and the forecasts that it rests on."""
    if decision.forecasts:
        await forecasts.keep(conn, [use.forecast for use in decision.forecasts])
    winner = None if decision.winner is None else book.rows[decision.winner.row].offer
    await auctions.add_auction(
        conn,
        {
            "id": ids.id,
            "task_id": ids.task_id,
            "kind": ids.kind,
            "outcome": decision.outcome,
            "reason": decision.code,
            "winner": None if winner is None else winner.id,
            "winner_provider": None if winner is None else winner.provider,
            "price_nano": decision.price_nano,
            "as_of": ids.as_of,
            "book_version": book.version,
        },
    )
    await log.append(conn, "auction", ids.id, record_line(ids, task, book, inputs, decision))


BATCHES = "batches"
"""Who holds a task whose call lies in a batch: no node, so that none needs to live for it."""


def holder(market: Market, candidate: Candidate) -> str:
    """Who holds a task that such a bid has won."""
    return BATCHES if candidate.offer.lane == BATCH else market.node


def rescue_of(decision: Decision) -> int | None:
    """When a batch that won is rescued, µs; None where none did."""
    return None if decision.batch is None else decision.batch.rescue_at


async def start_attempt(
    conn: AsyncConnection,
    market: Market,
    task_id: str,
    auction_id: str,
    number: int,
    candidate: Candidate,
    now: int,
    rescue_at: int | None = None,
) -> Started:
    """Take a place at the offer and write the attempt as started. Raises NoPlace where the offer is full.

    A batch lane's is noted to be handed in, with when its rescue begins (µs).
    """
    if not await capacity.reserve(
        conn, candidate.offer.id, now // MINUTE_US, candidate.tokens, candidate.places
    ):
        raise NoPlace(candidate.row)
    attempt_id = new_id("att", now)
    await attempts.add_attempt(
        conn,
        {
            "id": attempt_id,
            "task_id": task_id,
            "number": number,
            "auction_id": auction_id,
            "offer_id": candidate.offer.id,
            "provider": candidate.offer.provider,
            "bid_nano": candidate.bid_nano,
            "worst_nano": candidate.worst_nano,
            "price_nano": candidate.price_nano,
            "prices": canonical(prices_values(candidate.prices)).decode(),
            "started_at": now,
        },
    )
    if candidate.offer.lane == BATCH and rescue_at is not None:
        provider = await providers.provider_by_name(conn, candidate.offer.provider)
        assert provider is not None  # it sells the offer
        await batches.add_item(
            conn,
            {
                "attempt_id": attempt_id,
                "task_id": task_id,
                "provider_id": provider.id,
                "offer_id": candidate.offer.id,
                "rescue_at": rescue_at,
                "created_at": now,
            },
        )
    return Started(attempt_id, number, candidate, now)


def award_values(
    candidate: Candidate,
    rule: str,
    thin: bool = False,
    rescue_at: int | None = None,
    slot: Slot | None = None,
) -> dict[str, Any]:
    """The award as the task keeps it; money in nano-USD, when a batch is rescued and what a spot call's slot is in µs."""
    offer = candidate.offer
    values = {
        "offer_id": offer.id,
        "provider": offer.provider,
        "model": offer.model,
        "lane": offer.lane,
        "bid": candidate.bid_nano,
        "price": candidate.price_nano,
        "rule": rule,
        "thin": thin,
    }
    if rescue_at is not None:
        values["rescue_at"] = rescue_at
    if slot is not None:
        values["slot"] = list(slot)
    return values if candidate.feed_id is None else values | {"feed": candidate.feed_id}


def dumped(values: Any) -> str:
    """JSON text for a column."""
    return orjson.dumps(values).decode()
