"""Lanes over real HTTP: what a seller is told of the lane that was bought."""

import shutil
from pathlib import Path
from typing import Any

import pytest

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
