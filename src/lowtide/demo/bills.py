"""The day's bill four times: every ticket decided again by the same core, with one thing changed at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import orjson

from lowtide.exchange.market import Market
from lowtide.market.auction import AWARDED, HELD, decide
from lowtide.market.book import Book, quality_in
from lowtide.market.record import auction_key
from lowtide.market.spot import Inputs
from lowtide.market.task import Lists, Task, task_from_values
from lowtide.market.usage import Usage, charge
from lowtide.simulate.desk import Ticket
from lowtide.store import auctions, tasks
from lowtide.store.tables import TaskRow

_RELEASES = 8
HARDEST = "support.edge"


@dataclass(slots=True)
class Bill:
    """A day's bill: nano-USD, tickets served, and those that nobody could serve."""

    name: str
    total_nano: int = 0
    served: int = 0
    unserved: int = 0
    waited: int = 0
    by_class: dict[str, int] = field(default_factory=dict)

    def add(self, ticket: Ticket, cost_nano: int | None, waited: bool) -> None:
        """Count one ticket."""
        if cost_nano is None:
            self.unserved += 1
            return
        self.served += 1
        self.waited += waited
        self.total_nano += cost_nano
        self.by_class[ticket.ticket_class] = self.by_class.get(ticket.ticket_class, 0) + cost_nano


def top_model(book: Book) -> str:
    """The model of the highest verified quality in the desk's hardest class: what one would buy if one bought but one."""
    best = max(book.rows, key=lambda row: (quality_in(row.conditions, HARDEST)[0], row.offer.model))
    return best.offer.model


async def four_bills(market: Market, tickets: Sequence[Ticket]) -> tuple[str, list[Bill]]:
    """One top model for everything, matching alone, waiting alone, both; and which model that top one is."""
    top = top_model(market.keeper.book)
    bills = [
        Bill("one top model for everything"),
        Bill("matching alone"),
        Bill("waiting alone"),
        Bill("both"),
    ]
    placed = await _placed(market)
    for ticket in tickets:
        row = placed.get(str(ticket.number))
        if row is None:
            continue
        book, seed = await _book_at_arrival(market, row), await market.seeds.at(row.created_at)
        posted = task_from_values(row.id, orjson.loads(row.decided_as))
        one, at_once = _only(posted, top), _impatient(posted)
        for bill, task in zip(bills, (_impatient(one), at_once, one, posted), strict=True):
            key = auction_key(seed, f"what-if {row.id}")
            bill.add(
                ticket, *cost_of(task, book, row.created_at, key, Usage(ticket.input_tokens, _answer(ticket)))
            )
    return top, bills


def cost_of(task: Task, book: Book, arrival: int, key: bytes, usage: Usage) -> tuple[int | None, bool]:
    """What a usage costs by the core's decision at arrival, or at the release of its hold; and whether it waited."""
    at = arrival
    for _ in range(_RELEASES):
        decision = decide(task, book, Inputs(), at, key)
        if decision.outcome == HELD and decision.deferral is not None:
            at = decision.deferral.release_at
            continue
        if decision.outcome != AWARDED or decision.winner is None:
            break
        quote = book.quote_at(decision.winner.row, at)
        return (None if quote is None else charge(quote.prices, usage)), at > arrival
    return None, False


def _only(task: Task, model: str) -> Task:
    """The task for one model alone, whatever it costs: no floor and no budget, as without a market."""
    limits = replace(task.constraints, min_quality_ppm=None, max_cost_nano=None)
    return replace(task, lists=Lists(models=(model,)), constraints=limits)


def _impatient(task: Task) -> Task:
    return replace(task, constraints=replace(task.constraints, complete_by=None))


def _answer(ticket: Ticket) -> int:
    return min(ticket.output_tokens, ticket.max_output_tokens)


async def _placed(market: Market) -> dict[str, TaskRow]:
    found: dict[str, TaskRow] = {}
    after: str | None = None
    async with market.database.read() as conn:
        while page := await tasks.list_tasks(conn, after=after, limit=500):
            found |= {orjson.loads(row.labels).get("ticket", ""): row for row in page}
            after = page[-1].id
    return found


async def _book_at_arrival(market: Market, row: TaskRow) -> Book:
    async with market.database.read() as conn:
        first = (await auctions.list_auctions(conn, task_id=row.id, limit=200))[-1]
    return await market.keeper.at(first.book_version)
