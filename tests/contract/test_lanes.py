"""Lanes over real HTTP: what a seller is told of the lane that was bought."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lowtide.app import read_settings, running_market
from lowtide.market.quote import effective_quote
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from tests.contract.served import HELLO, served_market


@pytest.mark.parametrize(
    ("lane", "tier"), [("standard", None), ("flex", "flex"), ("priority", "priority"), ("spot", None)]
)
async def test_the_bought_lane_is_sent_as_service_tier_whatever_the_requester_wrote(
    template: Path, tmp_path: Path, lane: str, tier: str | None
):
    sent: list[Any] = []

    def noted(body: Any) -> int:
        sent.append(body)
        return 40

    upstreams = Upstreams(output_tokens=noted)
    shutil.copyfile(template, tmp_path / "market.db")
    async with (
        serving(upstreams) as url,
        served_market(tmp_path / "market.db", upstreams, url) as served,
    ):
        await served.offer(lane=lane)
        done = await served.done(input=HELLO | {"service_tier": "auto"})
    assert done["state"] == "succeeded"
    assert sent[-1].get("service_tier") == tier


async def test_a_stocked_market_lists_each_lane_as_an_offer_with_its_price_and_its_time(
    template: Path, tmp_path: Path
):
    shutil.copyfile(template, tmp_path / "market.db")
    settings = read_settings(
        {
            "LOWTIDE_DATABASE_URL": f"sqlite:///{tmp_path / 'market.db'}",
            "GROQ_API_KEY": "k",
            "DEEPSEEK_API_KEY": "k",
        }
    )
    async with running_market(settings, ticking=False) as running:
        book, now = running.market.keeper.book, running.market.now()
    rows = {(row.offer.provider, row.offer.upstream_model, row.offer.lane): row for row in book.rows}
    assert {key[2] for key in rows if key[0] == "deepseek"} == {"standard"}
    standard, batch = (rows["groq", "openai/gpt-oss-120b", lane] for lane in ("standard", "batch"))
    prices = [effective_quote(row.quotes, now).prices for row in (standard, batch)]
    assert prices[1].input * 2 == prices[0].input
    assert prices[1].output * 2 == prices[0].output
    assert standard.conditions.completion_p99_ms == 0
    assert batch.conditions.completion_p99_ms == 24 * 60 * 60 * 1_000
