"""The demo from start to end: simulators, service, sellers, the day, the report."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console

from lowtide.api.server import create_api
from lowtide.app import attach, read_settings, running_market
from lowtide.demo.bills import four_bills
from lowtide.demo.day import AnswerLengths, Day
from lowtide.demo.plan import Plan, clean, database_file, keep_plan, kept_plan, new_plan
from lowtide.demo.report import print_auctions, print_bills, print_outcomes, read_finished
from lowtide.demo.say import say_next, say_resumed, say_start
from lowtide.demo.sellers import register_sellers
from lowtide.simulate.clock import SteppedClock
from lowtide.simulate.models import load_simulated_models
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.store import migrate, tasks
from lowtide.store.database import Database
from lowtide.values.clock import SystemClock
from lowtide.values.errors import SetupError
from lowtide.values.instants import instant

TICKETS = 1_000
SEED = 7


async def run_demo(
    folder: Path, *, tickets: int | None, seed: int | None, resume: bool, console: Console
) -> None:
    """Play a day in `folder`.

    Raises SetupError where there is nothing to resume, where another day is asked for than the one to resume, and
    where the folder is in use.
    """
    began = time.monotonic()
    if resume:
        plan = kept_plan(folder)
        if (tickets or plan.tickets, seed or plan.seed) != (plan.tickets, plan.seed):
            raise SetupError(
                f"The demo to resume has {plan.tickets} tickets and seed {plan.seed}. Leave --tickets and --seed out."
            )
    else:
        clean(folder)
        plan = new_plan(SystemClock().now(), SEED if seed is None else seed, tickets or TICKETS)
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
            models = load_simulated_models(settings.config / "demo" / "models.toml")
            await register_sellers(running.market, models, plan.zone)
            async with running.market.database.read() as conn:
                # Tickets are posted one after the other, so the first ones are those that stand.
                posted = await tasks.count_tasks(conn)
            say_start(console, plan, url, models)
            if resume:
                say_resumed(console, plan, posted, running.recovered)
            await Day(running, clock, client, plan).play(day[posted:], _progress(console, plan, clock, began))
        finished = await read_finished(running.market)
        top, bills = await four_bills(running.market, day)
        console.print(f"\nThe day was played in {time.monotonic() - began:.0f} s.\n")
        print_outcomes(console, finished)
        print_bills(console, top, bills, finished)
        await print_auctions(console, running.market, finished)
        say_next(console, plan, folder, finished.counts)


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
