"""The price history of an offer over HTTP, in every format."""

import csv
import io
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from lowtide.store import offers
from lowtide.values.instants import DAY_US, HOUR_US, micros, rfc3339
from tests.contract.served import Served

HOURS = 6


def hour(number: int) -> datetime:
    """The start of an hour, so many before the present one."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - timedelta(hours=number)


async def priced(service: Served) -> str:
    """An offer that cost $1 in the sixth hour ago, $2 and, from the half on, $4 in the fifth, nothing in the fourth,
    and $3 since; its source was bound by a push that is gone."""
    offer = await service.offer(price="9")
    now = micros(datetime.now(UTC))
    start = micros(hour(6))
    half = HOUR_US // 2
    slots = [(0, 2, 1), (2, 3, 2), (3, 4, 4), (6, None, 3)]
    rows = [
        {
            "id": f"quo_{number}",
            "offer_id": offer,
            "source": "push",
            "sequence": 10 + number,
            "valid_from": start + begin * half,
            "valid_until": None if end is None else start + end * half,
            "prices": f'{{"in":{price}000000000,"out":{price}000000001,"cached":{price}00000000}}',
            "taken_at": start - HOUR_US,
        }
        for number, (begin, end, price) in enumerate(slots)
    ]
    await service.running.market.database.writer.write(lambda conn: offers.add_quotes(conn, rows))
    assert now > start
    return offer


async def read(service: Served, offer: str, **params: Any) -> httpx.Response:
    return await service.client.get(f"/v1/offers/{offer}/prices", params=params)


def span(number: int) -> dict[str, str]:
    """From the sixth hour ago, that many hours."""
    return {"from": rfc3339(hour(6)), "to": rfc3339(hour(6 - number))}


async def test_bars_have_open_high_low_close_and_the_mean_by_time_and_gaps_are_left_out(service: Served):
    offer = await priced(service)
    answer = (await read(service, offer, step="1h", **span(4))).json()
    assert (answer["step"], answer["source"], answer["from"]) == ("1h", "push", rfc3339(hour(6)))
    first, second, fourth = answer["data"]
    assert first["input_per_mtok"] == dict.fromkeys(("open", "high", "low", "close", "mean"), "1")
    assert second["input_per_mtok"] == {"open": "2", "high": "4", "low": "2", "close": "4", "mean": "3"}
    assert second["output_per_mtok"]["mean"] == "3.000000001"
    assert second["cached_input_per_mtok"]["close"] == "0.4"
    assert second["cache_write_per_mtok"]["close"] == "4"
    assert [bar["covered"] for bar in answer["data"]] == [1.0, 1.0, 1.0]
    assert fourth["start"] == rfc3339(hour(3))


async def test_ticks_are_the_changes_with_the_last_one_before_the_range_first(service: Served):
    offer = await priced(service)
    begin = rfc3339(hour(6) + timedelta(minutes=10))
    answer = (await read(service, offer, step="ticks", **{"from": begin, "to": span(4)["to"]})).json()
    ticks = [
        (tick["at"], None if tick["prices"] is None else tick["prices"]["input_per_mtok"])
        for tick in answer["data"]
    ]
    half = timedelta(minutes=30)
    assert ticks == [
        (rfc3339(hour(6)), "1"),
        (rfc3339(hour(5)), "2"),
        (rfc3339(hour(5) + half), "4"),
        (rfc3339(hour(4)), None),
        (rfc3339(hour(3)), "3"),
    ]


async def test_without_a_step_one_is_chosen_that_fits_the_range(service: Served):
    offer = await priced(service)
    assert (await read(service, offer)).json()["step"] == "5m"
    month = {"from": rfc3339(hour(24 * 28))}
    assert (await read(service, offer, step="0", **month)).json()["step"] == "6h"


async def test_csv_and_parquet_say_what_json_does(service: Served):
    offer = await priced(service)
    bars = (await read(service, offer, step="30m", **span(4))).json()["data"]
    text = await read(service, offer, step="30m", format="csv", **span(4))
    assert text.headers["content-type"].startswith("text/csv")
    assert f"prices-{offer}.csv" in text.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(text.text)))
    binary = await read(service, offer, step="30m", format="parquet", **span(4))
    table = pq.read_table(io.BytesIO(binary.content))
    for name in ("input_per_mtok", "output_per_mtok", "per_request"):
        for part in ("open", "high", "low", "close", "mean"):
            expected = [bar[name][part] for bar in bars]
            assert [row[f"{name}_{part}"] for row in rows] == expected
            assert table.column(f"{name}_{part}").to_pylist() == [Decimal(text) for text in expected]
    assert [row["start"] for row in rows] == [bar["start"] for bar in bars]
    assert [rfc3339(at) for at in table.column("start").to_pylist()] == [bar["start"] for bar in bars]


async def test_ticks_as_csv_leave_a_gap_empty(service: Served):
    offer = await priced(service)
    text = (await read(service, offer, step="ticks", format="csv", **span(4))).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["input_per_mtok"] for row in rows] == ["1", "2", "4", "", "3"]


@pytest.mark.parametrize(
    ("params", "code", "says"),
    [
        ({"step": "1x"}, "bad_step", "15m"),
        ({"step": "400d"}, "bad_step", "366"),
        ({"from": "yesterday"}, "bad_time", "RFC 3339"),
        ({"from": "2026-01-01T00:00:00"}, "naive_time", "Z"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "bad_range", "after"),
        ({"from": "2150-01-01T00:00:00Z"}, "bad_range", "to come"),
        (
            {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "step": "1s"},
            "too_many_bars",
            "step=1m",
        ),
        ({"format": "xlsx"}, "invalid_request", "parquet"),
    ],
)
async def test_what_cannot_be_answered_says_what_can(
    service: Served, params: dict[str, str], code: str, says: str
):
    offer = await priced(service)
    answer = await read(service, offer, **params)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == code or problem["errors"][0]["code"] == code
    assert says in str(problem)


async def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    service: Served, monkeypatch: pytest.MonkeyPatch
):
    offer = await priced(service)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await read(service, offer, format="parquet")
    assert (answer.status_code, answer.json()["code"]) == (503, "parquet_missing")
    assert "lowtide[data]" in answer.json()["detail"]
    assert (await read(service, offer, format="csv")).status_code == 200


async def test_an_offer_without_quotes_has_an_empty_history_and_an_unknown_one_none(service: Served):
    offer = await service.offer(price=None)
    answer = (await read(service, offer)).json()
    assert (answer["source"], answer["data"]) == (None, [])
    assert (await read(service, offer, step="ticks")).json()["data"] == []
    assert (await read(service, "off_none")).status_code == 404


async def test_history_ends_where_an_offer_was_withdrawn(service: Served):
    offer = await priced(service)
    await service.client.delete(f"/v1/offers/{offer}")
    last = (await read(service, offer, step="ticks")).json()["data"][-1]
    assert last["prices"] is None


async def test_a_source_that_does_not_bind_the_offer_is_there_as_reference(service: Served):
    offer = await priced(service)
    start = micros(hour(6))
    row = {
        "id": "quo_ref",
        "offer_id": offer,
        "source": "feed_x",
        "sequence": 1,
        "valid_from": start,
        "prices": '{"in":7000000000,"out":7000000000}',
        "taken_at": start - DAY_US,
    }
    await service.running.market.database.writer.write(lambda conn: offers.add_quotes(conn, [row]))
    answer = (await read(service, offer, step="1h", source="feed_x", **span(1))).json()
    assert answer["data"][0]["input_per_mtok"]["mean"] == "7"


async def test_a_source_that_never_priced_the_offer_is_refused_by_name(service: Served):
    offer = await priced(service)
    refused = await read(service, offer, step="1h", source="feed_none", **span(1))
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_source")
    assert refused.json()["errors"][0]["pointer"] == "?source"
    assert (await read(service, offer, step="1h", source="push", **span(1))).status_code == 200
