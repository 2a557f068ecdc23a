"""The price history of an offer."""

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from lowtide.api import price_answers, tables
from lowtide.api.auth import AnyRole
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import Instant
from lowtide.api.json_body import StrictRoute
from lowtide.api.price_views import price_columns, price_history
from lowtide.exchange.prices import Range, price_bars_of, price_ticks_of
from lowtide.values.errors import FieldError, InvalidRequest
from lowtide.values.instants import SECOND_US

router = APIRouter(tags=["quotes and the book"], route_class=StrictRoute)
TICKS = "ticks"
LONGEST_STEP_S = 366 * 86_400
_STEP = re.compile(r"(\d{1,8})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {**told(price_answers.PriceHistory)[200], "content": tables.CONTENT}
}


@router.get("/offers/{offer_id}/prices", summary="Price history", responses=_ANSWER)
async def read_prices(
    offer_id: str,
    market: TheMarket,
    _who: AnyRole,
    from_: Annotated[
        Instant | None, Query(alias="from", description="RFC 3339; a day before `to` where left out")
    ] = None,
    to: Annotated[Instant | None, Query(description="RFC 3339; now where left out")] = None,
    step: Annotated[
        str | None,
        Query(
            description="length of a bar: seconds, or 15m, 1h, 1d; `ticks` for each change; 0 or nothing: one that fits",
            examples=["15m"],
        ),
    ] = None,
    source: Annotated[
        str | None, Query(max_length=128, description="another source's prices, kept as reference")
    ] = None,
    format_: Annotated[Literal["json", "csv", "parquet"], Query(alias="format")] = "json",
) -> Response:
    """What the offer cost: open, high, low, close and time-weighted mean by step, or each change of its prices.

    A price holds while its quote can win; gaps are not priced. Old history is kept by the minute, then by the hour: a
    step finer than that is refused with the one that fits. At most 10,000 bars or changes an answer.
    """
    length = _step(step)
    asked = Range(from_, to, length)
    read = price_ticks_of if step == TICKS else price_bars_of
    found = await read(market, offer_id, asked, source)
    if format_ == "json":
        return JSONResponse(await asyncio.to_thread(price_history, found))
    name = f"prices-{offer_id}"
    if format_ == "csv":
        return await tables.csv_table(price_columns(found), name)
    return await tables.parquet_table(price_columns(found), name)


def _step(text: str | None) -> int | None:
    """A step in µs; None for one that is to be chosen. Raises InvalidRequest (`bad_step`)."""
    if text in (None, "", TICKS):
        return None
    found = _STEP.fullmatch(text or "")
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= LONGEST_STEP_S:
        why = "A step is a number of seconds, or one such as 90s, 15m, 1h or 1d, of at most 366 days; or `ticks`."
        raise InvalidRequest(why, code="bad_step", errors=(FieldError("?step", "bad_step", why),))
    return seconds * SECOND_US or None
