"""What waiting has saved, and what it could have."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lowtide.api import answers
from lowtide.api.auth import Reader
from lowtide.api.context import TheMarket
from lowtide.api.contract import told
from lowtide.api.fields import Instant
from lowtide.api.json_body import StrictRoute
from lowtide.api.views import money, ratio, when
from lowtide.exchange.savings import savings_of
from lowtide.market.deferral.hindsight import Waiting
from lowtide.values.errors import FieldError, InvalidRequest
from lowtide.values.instants import DAY_US, rfc3339
from lowtide.values.money import usd

router = APIRouter(tags=["tasks"], route_class=StrictRoute)
USUAL_US = 28 * DAY_US
MOST_US = 400 * DAY_US


@router.get("/savings", summary="What waiting saved", responses=told(answers.Savings))
async def read_savings(
    market: TheMarket,
    who: Reader,
    from_: Annotated[
        Instant | None, Query(alias="from", description="RFC 3339; 28 days before `to` where left out")
    ] = None,
    to: Annotated[Instant | None, Query(description="RFC 3339; now where left out")] = None,
) -> dict[str, Any]:
    """Held tasks whose window is over: what they paid, what they would have at once, and had every price been known.

    By slack class (the time from arrival to deadline), and by day of arrival and slack class.
    """
    end = market.now() if to is None else to
    begin = end - USUAL_US if from_ is None else from_
    if not begin < end or end - begin > MOST_US:
        text = "`from` must lie before `to`, by at most 400 days."
        raise InvalidRequest(text, code="bad_range", errors=(FieldError("?from", "bad_range", text),))
    found = await savings_of(market, begin, end, who.account_filter)
    return {
        "from": when(begin),
        "to": when(end),
        "pending": found.pending.tasks,
        "next_at": when(found.pending.next_at),
        "pending_paid_usd": usd(found.pending.paid_nano),
        "pending_immediate_usd": usd(found.pending.immediate_nano),
        "classes": [waited(one) for one in found.classes],
        "days": [
            {"day": rfc3339(day)[:10], "classes": [waited(one) for one in classes]}
            for day, classes in found.days
        ],
    }


def waited(found: Waiting) -> dict[str, Any]:
    """What waiting came to for one class."""
    paid, at_once = found.paid_nano, found.immediate_nano
    return {
        "slack_hours": found.hours,
        "tasks": found.tasks,
        "compared": found.compared,
        "paid_usd": usd(paid),
        "immediate_usd": usd(at_once),
        "clairvoyant_usd": usd(found.clairvoyant_nano),
        "vs_immediate": round(paid / at_once, 6) if at_once > 0 else None,
        "captured": None if found.captured_ppm is None else ratio(found.captured_ppm),
        "regret_mean_usd": money(found.regret_mean_nano),
        "regret_p95_usd": money(found.regret_p95_nano),
        "dearer": found.dearer,
        "missed": found.missed,
    }
