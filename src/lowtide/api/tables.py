"""Tables to be taken away: CSV for reading, Parquet with types. Money stays exact in both."""

import asyncio
import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from fastapi import Response

from lowtide.values.errors import Unavailable
from lowtide.values.instants import rfc3339
from lowtide.values.money import usd

TIME, USD, RATIO = "time", "usd", "ratio"
"""Kinds of column: instants in µs, money in nano-USD, numbers from 0 to 1."""
CSV_TYPE, PARQUET_TYPE = "text/csv", "application/vnd.apache.parquet"
CONTENT: dict[str, Any] = {
    CSV_TYPE: {"schema": {"type": "string"}},
    PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
}
"""The media types as /docs shows them."""


class Column(NamedTuple):
    """A column: name, kind, and its values by row, None where there is none."""

    name: str
    kind: str
    values: Sequence[Any]


async def csv_table(columns: Sequence[Column], name: str) -> Response:
    """The table as a CSV file of that name: times in RFC 3339, money as decimal strings in USD."""
    text = await asyncio.to_thread(_csv, columns)
    return _file(text.encode(), CSV_TYPE, f"{name}.csv")


async def parquet_table(columns: Sequence[Column], name: str) -> Response:
    """The table as a Parquet file of that name: times in µs UTC, money as decimal(18, 9) in USD.

    Raises Unavailable (`parquet_missing`) where the market runs without pyarrow.
    """
    return _file(await asyncio.to_thread(_parquet, columns), PARQUET_TYPE, f"{name}.parquet")


def _csv(columns: Sequence[Column]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    shown = [[_text(column.kind, value) for value in column.values] for column in columns]
    writer.writerows(zip(*shown, strict=True))
    return text.getvalue()


def _text(kind: str, value: Any) -> str:
    if value is None:
        return ""
    if kind == TIME:
        return rfc3339(value)
    return usd(value) if kind == USD else f"{value:.9g}"


def _parquet(columns: Sequence[Column]) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Unavailable(
            "This market runs without pyarrow, which writes Parquet. Install lowtide[data] there, or ask for "
            "format=csv.",
            code="parquet_missing",
        ) from None
    types = {TIME: pa.timestamp("us", tz="UTC"), USD: pa.decimal128(18, 9), RATIO: pa.float64()}
    arrays = {
        column.name: pa.array(
            [_money(value) for value in column.values] if column.kind == USD else list(column.values),
            type=types[column.kind],
        )
        for column in columns
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _money(amount_nano: int | None) -> Decimal | None:
    return None if amount_nano is None else Decimal(amount_nano).scaleb(-9)


def _file(content: bytes, media_type: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=disposition)
