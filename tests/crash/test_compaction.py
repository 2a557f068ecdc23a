"""Compaction by a node that is killed (SIGKILL) at random moments: the history it leaves says the same."""

import asyncio
import os
import random
import sys
from pathlib import Path

from lowtide.app import read_settings, running_market
from lowtide.exchange.prices import Range, price_bars_of
from lowtide.simulate.clock import SteppedClock
from lowtide.store import price_bars
from lowtide.values.instants import DAY_US, HOUR_US, instant
from tests.store.samples import NOW, list_offer
from tests.store.test_compaction import bars, put, random_quotes

COMPACTING = Path(__file__).with_name("compacting.py")


async def run(database: Path, kill_after_s: float | None) -> bool:
    """Let a process compact, and kill it so long after it began; whether it came to its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(COMPACTING),
        str(database),
        str(NOW),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"begins"
    if kill_after_s is not None:
        await asyncio.sleep(kill_after_s)
        if process.returncode is None:
            process.kill()
    return b"done" in (await process.communicate())[0]


async def history(database: Path, quotes: list[dict[str, object]] | None = None) -> tuple[list[object], int]:
    """The whole history by the hour, and how many quotes are left, after adding some."""
    settings = read_settings(
        {"LOWTIDE_DATABASE_URL": f"sqlite:///{database}", "LOWTIDE_OPERATOR_KEY": "lt_of_the_crash_tests"}
    )
    async with running_market(settings, SteppedClock(instant(NOW)), ticking=False, stocked=False) as up:
        if quotes is not None:
            await list_offer(up.market.database, price_source="push", body='{"settles":0}')
            await put(up.market, quotes)
        found = await price_bars_of(up.market, "offer_0", Range(NOW - 45 * DAY_US, NOW, HOUR_US))
        async with up.market.database.read() as conn:
            left = await price_bars.oldest_quotes(conn, "offer_0", "push", 100_000)
    return bars(found), len(left)


async def test_a_node_killed_while_it_compacts_leaves_a_history_that_says_the_same(tmp_path: Path):
    database, dice = tmp_path / "market.db", random.Random(3)
    before, count = await history(database, random_quotes(3, count=6_000))
    cut_off = 0
    for _ in range(3):
        cut_off += not await run(database, dice.uniform(0.005, 0.25))
        after, _ = await history(database)
        assert after == before
    assert cut_off
    assert await run(database, None)
    after, left = await history(database)
    assert after == before
    assert left < count / 3
