"""A node that compacts, as a process of its own: `python compacting.py DATABASE_FILE NOW_US`; it says when it begins."""

import asyncio
import sys

from lowtide.app import read_settings, running_market
from lowtide.exchange.compact import compact
from lowtide.simulate.clock import SteppedClock
from lowtide.values.instants import instant


async def main(database: str, now: str) -> None:
    """Compact once. A node that was killed holds the duty for a minute, so each has it taken from the last."""
    settings = read_settings(
        {"LOWTIDE_DATABASE_URL": f"sqlite:///{database}", "LOWTIDE_OPERATOR_KEY": "lt_of_the_crash_tests"}
    )
    async with running_market(settings, SteppedClock(instant(int(now))), ticking=False, stocked=False) as up:
        up.market.node = "the-one-that-compacts"
        print("begins", flush=True)
        await compact(up.market)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
