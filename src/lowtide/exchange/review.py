"""Reviewing: a stored auction, decided again from its record, and the log as an export."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.market import Market
from lowtide.market.book import Book
from lowtide.market.deferral.continuation import Forecast, forecast_from_line
from lowtide.market.record import epoch_of, forecasts_named
from lowtide.market.replay import Replayed, replay
from lowtide.store import auctions, log, seeds
from lowtide.store import book as stored_book
from lowtide.store import forecasts as stored_forecasts
from lowtide.store.tables import AuctionRow, LogLine
from lowtide.values.canonical import canonical, sha256
from lowtide.values.errors import NotFound, SetupError
from lowtide.values.instants import HOUR_US

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An auction with its record's line, the book it was decided on, and the replay."""

    row: AuctionRow
    line: LogLine
    book: Book
    replayed: Replayed


class Recorded(NamedTuple):
    """An auction as it was written down: its row, its record's line and what that says, all its lines, its book and seed."""

    row: AuctionRow
    line: LogLine
    stored: dict[str, Any]
    lines: Sequence[LogLine]
    book: Book
    seed: bytes


async def recorded(market: Market, auction_id: str) -> Recorded:
    """Load an auction's lines and rebuild its version of the book. Raises NotFound."""
    async with market.database.read() as conn:
        row = await auctions.get_auction(conn, auction_id)
        lines = [] if row is None else await log.lines_of_auction(conn, auction_id)
    record = next((line for line in lines if line.type == "auction"), None)
    if row is None or record is None:
        raise NotFound(f"No auction {auction_id}.")
    stored = orjson.loads(record.line)
    book = await market.keeper.at(stored["book"]["version"])
    return Recorded(row, record, stored, lines, book, await market.seeds.at(row.as_of))


async def review(market: Market, auction_id: str) -> Reviewed:
    """Load an auction's record and decide again. Raises NotFound."""
    row, line, stored, _, book, seed = await recorded(market, auction_id)
    forecasts = await _forecasts(market, stored["inputs"])
    return Reviewed(row, line, book, replay(line.line, book, seed, forecasts))


async def _forecasts(market: Market, inputs: dict[str, Any]) -> dict[str, Forecast]:
    """The forecasts that a record's inputs name. Raises SetupError where one is missing or was changed."""
    named = forecasts_named(inputs)
    async with market.database.read() as conn:
        lines = await stored_forecasts.lines(conn, named)
    for digest in named:
        if digest not in lines or sha256(lines[digest]).hex() != digest:
            raise SetupError(f"Forecast {digest} is not stored as it was: a line of forecasts was changed.")
    return {digest: forecast_from_line(line) for digest, line in lines.items()}


async def export(market: Market) -> AsyncIterator[bytes]:
    """The log as JSONL: each book line and forecast before its first use, the log's lines in leaf order, the finished
    hours' seeds.

    Lines that the sealer has not numbered yet (a second's worth) are left for the next export.
    """
    told_version, after, told = 0, -1, set[str]()
    async with market.database.read() as conn:
        while True:
            page = await log.stream(conn, after, _PAGE)
            for line in page:
                if line.type == "auction":
                    record = orjson.loads(line.line)
                    version = record["book"]["version"]
                    if version > told_version:
                        async for text in _book_lines(conn, told_version, version):
                            yield text
                        told_version = version
                    fresh = set(forecasts_named(record.get("inputs", {}))) - told
                    async for text in _forecast_lines(conn, fresh):
                        yield text
                    told |= fresh
                yield line.line + b"\n"
                after = line.leaf_index if line.leaf_index is not None else after
            if len(page) < _PAGE:
                break
        for seed in await seeds.finished(conn, epoch_of(market.now())):
            yield (
                canonical(
                    {
                        "type": "seed",
                        "hour": seed.hour,
                        "until": seed.hour + HOUR_US,
                        "seed": seed.seed.hex(),
                        "hash": seed.hash.hex(),
                    }
                )
                + b"\n"
            )


async def _forecast_lines(conn: AsyncConnection, digests: Collection[str]) -> AsyncIterator[bytes]:
    for digest, line in sorted((await stored_forecasts.lines(conn, digests)).items()):
        yield canonical({"type": "forecast", "digest": digest, "line": line.decode()}) + b"\n"


async def _book_lines(conn: AsyncConnection, after: int, upto: int) -> AsyncIterator[bytes]:
    for line in await stored_book.lines_between(conn, after, upto):
        yield (
            canonical(
                {
                    "type": "row",
                    "kind": line.kind,
                    "row": line.row,
                    "from_version": line.from_version,
                    "line": line.line.decode(),
                }
            )
            + b"\n"
        )
