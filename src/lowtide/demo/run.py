"""The demo from start to end: simulators, service, sellers, the day, the report."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console

from lowtide.api.server import create_api
from lowtide.app import Running, attach, read_settings, running_market
from lowtide.demo.bills import four_bills
from lowtide.demo.day import AnswerLengths, Day
from lowtide.demo.plan import Plan, clean, database_file, keep_plan, kept_plan, new_plan
from lowtide.demo.report import print_auctions, print_bills, print_outcomes, read_finished
from lowtide.demo.sellers import register_sellers
from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.models import load_simulated_models
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.store import migrate, tasks
from lowtide.store.database import Database
from lowtide.values.clock import SystemClock
from lowtide.values.instants import instant


async def run_demo(folder: Path, *, tickets: int, seed: int, resume: bool, console: Console) -> None:
    """Play a day in `folder`. Raises SetupError where there is nothing to resume or the folder is in use."""
    began = time.monotonic()
    if resume:
        plan = kept_plan(folder)
    else:
        clean(folder)
        plan = new_plan(SystemClock().now(), seed, tickets)
        keep_plan(folder, plan)
    settings = read_settings(
        database_url=f"sqlite:///{database_file(folder)}", operator_key=plan.operator_key
    )
    day = plan.day(settings.config)
    clock = SteppedClock(await _instant_reached(plan, settings.database_url, resume=resume))
    upstreams = Upstreams(AnswerLengths(day))
    async with (
        serving(upstreams) as simulators,
        running_market(settings, clock, ticking=False, stocked=False, simulator_base=simulators) as running,
    ):
        app = create_api()
        attach(app, running)
        async with (
            serving(app) as url,
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {plan.operator_key}"}, timeout=30
            ) as client,
        ):
            offers = len(running.market.keeper.book) or await register_sellers(
                running.market, load_simulated_models(settings.config / "demo" / "models.toml"), plan.zone
            )
            _say_start(console, plan, url, offers, running, resume=resume)
            await Day(running, clock, client, plan).play(day, _progress(console, plan, clock, began))
        finished = await read_finished(running.market)
        top, bills = await four_bills(running.market, day)
        console.print(f"\nThe day was played in {time.monotonic() - began:.0f} s.\n")
        print_outcomes(console, finished)
        print_bills(console, top, bills, finished)
        await print_auctions(console, running.market, finished)
        _say_next(console, plan, finished.counts)


async def _instant_reached(plan: Plan, database_url: str, *, resume: bool) -> datetime:
    """The day's start; after a stop the last instant that the store knows."""
    last = None
    if resume:
        await migrate.upgrade(database_url)
        database = await Database.open(database_url)
        async with database.read() as conn:
            last = await tasks.latest_instant(conn)
        await database.close()
    begins = plan.begins.astimezone(UTC)
    return begins if last is None else min(instant(last), plan.ends.astimezone(UTC))


def _progress(
    console: Console, plan: Plan, clock: SteppedClock, began: float
) -> Callable[[int, Mapping[str, int]], None]:
    def tell(done: int, counts: Mapping[str, int]) -> None:
        step = max(1, plan.tickets // (100 if console.is_terminal else 10))
        if done % step >= 10 and done != plan.tickets:
            return
        there = clock.now().astimezone(plan.begins.tzinfo)
        text = (
            f"{there:%a %H:%M}  {done:>5}/{plan.tickets} tickets   "
            + "  ".join(f"{counts.get(state, 0)} {state}" for state in ("succeeded", "held", "failed"))
            + f"   {time.monotonic() - began:.0f} s"
        )
        console.print(
            text, end="\r" if console.is_terminal and done != plan.tickets else "\n", highlight=False
        )

    return tell


def _say_start(
    console: Console, plan: Plan, url: str, offers: int, running: Running, *, resume: bool
) -> None:
    if resume:
        console.print(
            f"Going on with the demo; {running.recovered} tasks were taken over from before the stop."
        )
    console.print(
        f"A market at {url} with {offers} offers: real models at their catalog prices, served by simulators."
    )
    console.print(
        f"The desk stands where it is {plan.ends:%H:%M} now ({plan.zone}); its day of {plan.tickets} tickets ends now. "
        "Half of them may wait until 08:00.\n"
    )


def _say_next(console: Console, plan: Plan, counts: Mapping[str, int]) -> None:
    console.print(
        "\nGo on with this market (its simulators come up with it"
        + (f", and its {counts['held']} holds go on)" if counts.get("held") else ")")
        + ":"
    )
    console.print("  make serve", style="bold", highlight=False)
    console.print(f"  export LOWTIDE_KEY={plan.operator_key}", style="bold", highlight=False, soft_wrap=True)
    console.print("  .venv/bin/lowtide auctions list", style="bold", highlight=False)
