"""What auctions weigh in SQLite: their rows, their lines in the log, and the indexes of both."""

import asyncio
import sqlite3
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.random_book import NOW, mixed_tasks, random_book
from lowtide.market.auction import decide
from lowtide.market.book import Book
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.spot import Inputs
from lowtide.store import auctions, log, migrate
from lowtide.store.database import Database
from lowtide.values.ids import new_id

OFFERS = 1_000
MOST_BYTES_AN_AUCTION = 3_000
"""300 MB for 100,000."""
_A_COMMIT = 500


class Written(NamedTuple):
    """One auction as the store takes it."""

    row: dict[str, Any]
    line: bytes


def run(count: int) -> list[str]:
    """Write so many auctions and print what they weigh; a line if that is too much."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "market.db"
        seconds = asyncio.run(_write(file, count))
        weight = _weigh(file)
    total = sum(weight.values())
    for name, size in sorted(weight.items(), key=lambda entry: -entry[1]):
        print(f"  {name:<32} {size / 1e6:8.1f} MB")
    most = count * MOST_BYTES_AN_AUCTION
    print(
        f"{count} auctions over {OFFERS} offers in the store: {total / 1e6:.1f} MB, at most {most / 1e6:.0f} "
        f"({total / count:.0f} bytes each, written at {count / seconds:.0f} a second)"
    )
    if total <= most:
        return []
    return [f"{count} auctions weigh {total / 1e6:.1f} MB; at most {most / 1e6:.0f} is the target"]


async def _write(file: Path, count: int) -> float:
    """Decide and write them as the market does, in commits of 500, and number their leaves; the seconds it took."""
    url = f"sqlite:///{file}"
    await migrate.upgrade(url)
    database = await Database.open(url)
    book, started = random_book(OFFERS), perf_counter()
    for first in range(0, count, _A_COMMIT):
        group = [_auction(book, number) for number in range(first, min(first + _A_COMMIT, count))]
        await database.writer.write(partial(_put, group=group))
    seconds = perf_counter() - started
    await database.close()
    return seconds


async def _put(conn: AsyncConnection, *, group: list[Written]) -> None:
    for auction in group:
        await auctions.add_auction(conn, auction.row)
    await log.append_all(conn, [("auction", auction.row["id"], auction.line) for auction in group])
    await log.number_leaves(conn, len(group))


def _auction(book: Book, number: int) -> Written:
    task, inputs = _TASKS[number % len(_TASKS)], Inputs()
    as_of = NOW + number * 1_000
    ids = AuctionIds(new_id("auc", as_of), new_id("task", as_of), as_of)
    decision = decide(task, book, inputs, as_of, auction_key(bytes(32), ids.id))
    winner = None if decision.winner is None else book.rows[decision.winner.row].offer
    row = {
        "id": ids.id,
        "task_id": ids.task_id,
        "kind": ids.kind,
        "outcome": decision.outcome,
        "reason": decision.code,
        "winner": None if winner is None else winner.id,
        "winner_provider": None if winner is None else winner.provider,
        "price_nano": decision.price_nano,
        "as_of": as_of,
        "book_version": book.version,
    }
    return Written(row, record_line(ids, task, book, inputs, decision))


_TASKS = mixed_tasks(997)


def _weigh(file: Path) -> dict[str, int]:
    """Bytes of the auctions, the log and their indexes; of the whole file where SQLite cannot tell them apart."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            sizes = connection.execute(
                "SELECT name, sum(pgsize) FROM dbstat WHERE name IN "
                "(SELECT name FROM sqlite_master WHERE tbl_name IN ('auctions', 'log')) GROUP BY name"
            ).fetchall()
        except sqlite3.OperationalError:
            return {"the whole file": file.stat().st_size}
    return dict(sizes)
