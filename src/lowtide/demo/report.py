"""What the demo prints at its end: outcomes, the day's bill four times, deadlines, and three auctions in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from rich.console import Console
from rich.table import Table

from lowtide.demo.bills import Bill
from lowtide.demo.say import counted, program
from lowtide.exchange.market import Market
from lowtide.exchange.review import review
from lowtide.market.explain import explanation
from lowtide.store import money, tasks
from lowtide.store.tables import TaskRow
from lowtide.values.money import NANO

_ORDER = ("succeeded", "held", "queued", "running", "failed", "expired", "unfilled", "cancelled")


@dataclass(frozen=True, slots=True)
class Finished:
    """Figures of the played day, read from the store: nano-USD and counts."""

    counts: Mapping[str, int]
    deadlines_met: int
    deadlines_missed: int
    paid_nano: int
    captured_nano: int
    examples: tuple[TaskRow, ...]


def dollars(amount_nano: int) -> str:
    """USD to a hundredth of a cent, which a bill of a few dollars needs."""
    return f"${amount_nano / NANO:,.4f}"


async def read_finished(market: Market) -> Finished:
    """Count what the day left in the store."""
    met = missed = paid = 0
    examples: dict[str, TaskRow] = {}
    after: str | None = None
    async with market.database.read() as conn:
        counts = await tasks.counts_by_state(conn)
        balances = await money.balances(conn)
        while page := await tasks.list_tasks(conn, after=after, limit=500):
            for row in page:
                receipt = orjson.loads(row.receipt) if row.receipt else {}
                met += receipt.get("deadline_met") is True
                missed += receipt.get("deadline_met") is False or row.state == "expired"
                paid += receipt.get("paid", 0)
                _example(examples, row)
            after = page[-1].id
    captured = sum(
        amount for name, amount in balances.items() if name.startswith("provider:")
    ) + balances.get("house:overrun", 0)
    return Finished(counts, met, missed, paid, captured, tuple(examples.values()))


def _example(examples: dict[str, TaskRow], row: TaskRow) -> None:
    """Three auctions that show three things: matching, waiting that has ended, and a hold that is alive (or a hard case)."""
    if row.state == "succeeded" and row.hold:
        examples.setdefault("waited", row)
    elif row.state == "succeeded":
        examples.setdefault("edge" if row.task_type.endswith("edge") else "matched", row)
    elif row.state == "held":
        examples.setdefault("held", row)


def print_bills(console: Console, top: str, bills: Sequence[Bill], finished: Finished) -> None:
    """The bills side by side, each against the first."""
    console.print(f"The day's bill, decided again by the same core (the top model is {top}):")
    table = Table()
    for name, justify in (
        ("strategy", "left"),
        ("bill", "right"),
        ("saved", "right"),
        ("waited", "right"),
        ("unserved", "right"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    first = bills[0].total_nano or 1
    for bill in bills:
        saved = "" if bill is bills[0] else f"{100 * (1 - bill.total_nano / first):.1f} %"
        table.add_row(bill.name, dollars(bill.total_nano), saved, str(bill.waited), str(bill.unserved))
    console.print(table)
    held = finished.counts.get("held", 0)
    rest = f"; {counted(held, 'held ticket')} still to come" if held else ""
    console.print(
        f"Paid so far by the receipts {dollars(finished.paid_nano)}, and by the ledger "
        f"{dollars(finished.captured_nano)}{rest}."
    )
    console.print(
        "Prices are the catalog's; night tariffs, claims and answers are the simulation's.\n"
        "A ticket has the same tokens with every model.\n",
        style="dim",
    )


def print_outcomes(console: Console, finished: Finished) -> None:
    """Tasks by outcome, and deadlines."""
    parts = [f"{finished.counts[state]} {state}" for state in _ORDER if finished.counts.get(state)]
    console.print(f"Tasks: {', '.join(parts)}.")
    console.print(f"Deadlines: {finished.deadlines_met} met, {finished.deadlines_missed} missed.\n")


async def print_auctions(console: Console, market: Market, finished: Finished) -> None:
    """Three auctions explained, with the command that shows more."""
    console.print("Three auctions:")
    for row in finished.examples[:3]:
        if row.auction_id is None:
            continue
        seen = await review(market, row.auction_id)
        again = seen.replayed
        text = explanation(again.task, seen.book, again.inputs, again.decision, again.ids.as_of, again.key)
        console.print(f"\n  {row.task_type}, {row.state}: {text}", highlight=False)
        if row.hold and row.state == "succeeded":
            console.print(f"  At arrival: {orjson.loads(row.hold)['reason']}", highlight=False)
        console.print(f"  Decided again from its record: {'identical' if again.identical else 'DIFFERENT'}.")
        console.print(
            f"  {program()} auctions show {row.auction_id}", style="bold", highlight=False, soft_wrap=True
        )
