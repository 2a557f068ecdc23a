"""Estimating: what a task would cost now, and held until its deadline, without placing it."""

from dataclasses import dataclass, replace

from lowtide.exchange.deciding import inputs_for, with_usual_output
from lowtide.exchange.market import Market
from lowtide.exchange.place import refuse_bad_fallback, refuse_past_deadline
from lowtide.market.auction import Decision, decide
from lowtide.market.book import Book
from lowtide.market.record import auction_key
from lowtide.market.spot import Inputs
from lowtide.market.task import Task
from lowtide.values.ids import new_id


@dataclass(frozen=True, slots=True)
class Estimate:
    """Two decisions by the same core: as posted, and as if it could not wait."""

    task: Task
    book: Book
    inputs: Inputs
    as_of: int
    key: bytes
    posted: Decision
    at_once: Decision


async def estimate(market: Market, task: Task) -> Estimate:
    """Decide on a task as of now and keep nothing. Raises DeadlinePassed, InvalidRequest (fallback)."""
    now = market.now()
    refuse_past_deadline(task, now)
    refuse_bad_fallback(task, market.keeper.book)
    task = with_usual_output(market, replace(task, id=new_id("task", now)))
    book, inputs = market.keeper.book, inputs_for(market, task)
    key = auction_key(await market.seeds.at(now), task.id)
    impatient = replace(task, constraints=replace(task.constraints, complete_by=None))
    return Estimate(
        task,
        book,
        inputs,
        now,
        key,
        decide(task, book, inputs, now, key),
        decide(impatient, book, inputs, now, key),
    )
