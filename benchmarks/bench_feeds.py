"""A book of 10,000 offers under 1,000 quote changes a second, on one core, while auctions go on."""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from lowtide.app import read_settings, running_market
from lowtide.exchange.quotes import Pushed, push_quotes
from lowtide.exchange.register import register_offer, register_provider
from lowtide.market.offer import Offer
from lowtide.market.quote import Prices
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams

OFFERS = 10_000
CHANGES_A_SECOND, A_PUSH = 1_000, 50
AUCTIONS_A_SECOND = 20
QUIET_S = 15.0
MOST_BEHIND_MS = 100.0
MOST_SLOWER = 2.0
KEY = "lt_key_of_the_benchmark"


def run(seconds: float) -> list[str]:
    """Push changes for so long and print what became of them; a line for each target that was missed."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder), seconds))


async def _run(folder: Path, seconds: float) -> list[str]:
    # The service gets the first core for itself; whoever asks it has the others.
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    url = f"sqlite:///{folder / 'market.db'}"
    async with serving(Upstreams()) as upstream:
        offers = await _stock(url, f"{upstream}/sim/v1")
        service, base = await _serve(url, cores[0])
        try:
            async with aiohttp.ClientSession(
                base, headers={"Authorization": f"Bearer {KEY}"}, raise_for_status=True
            ) as client:
                quiet = await _auctions(client, QUIET_S)
                before = await _counts(client)
                dice, sent = random.Random(7), dict[str, int]()
                behind: list[float] = []
                pushing = asyncio.create_task(_push(client, offers, dice, sent, behind, seconds))
                busy = await _auctions(client, seconds)
                await pushing
                lost = await _lost(client, sent)
                in_time, late = await _in_time(client, before)
        finally:
            service.terminate()
            service.wait()
            os.sched_setaffinity(0, set(cores))
    print(
        f"from a change's arrival until the book had it: {in_time} of {in_time + late} pushes within "
        f"{MOST_BEHIND_MS:.0f} ms, by the service's own count"
    )
    missed = _judge(quiet, busy, behind, len(sent), lost, seconds)
    if late > 0.01 * (in_time + late):
        missed.append(
            f"{late} of {in_time + late} pushes were in the book later than {MOST_BEHIND_MS:.0f} ms"
        )
    return missed


async def _stock(url: str, base_url: str) -> list[str]:
    """A market of 10,000 offers, each with a price; their ids."""
    settings = read_settings({"LOWTIDE_DATABASE_URL": url, "LOWTIDE_OPERATOR_KEY": KEY})
    async with running_market(settings, ticking=False, stocked=False) as running:
        market = running.market
        provider = await register_provider(
            market, {"name": "sim", "wire": "openai", "base_url": base_url, "source": "api"}
        )
        rows = await asyncio.gather(
            *(
                register_offer(market, provider, Offer("", "sim", f"m-{n % 97}", f"u-{n}"))
                for n in range(OFFERS)
            )
        )
        ids = [row.id for row, _ in rows]
        began = time.perf_counter()
        await push_quotes(
            market,
            [Pushed(one, Prices(_price(n, 0), 10**9), None, None, 1) for n, one in enumerate(ids)],
        )
        print(f"{OFFERS} quotes in one push: {time.perf_counter() - began:.2f} s")
        return ids


def _price(number: int, step: int) -> int:
    """An input price between one and two dollars, another at each step."""
    return 10**9 + (number * 7_919 + step * 104_729) % 10**9


async def _serve(url: str, core: int) -> tuple[subprocess.Popen[bytes], str]:
    env = os.environ | {
        "LOWTIDE_DATABASE_URL": url,
        "LOWTIDE_OPERATOR_KEY": KEY,
        "LOWTIDE_ALLOW_PRIVATE_URLS": "true",
        "LOWTIDE_PORT": str(port := random.randint(20_000, 40_000)),
    }
    service = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "lowtide", "serve"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as client:
        for _ in range(300):
            with suppress(aiohttp.ClientError):
                async with client.get(f"{base}/readyz") as answer:
                    if answer.status == 200:
                        return service, base
            await asyncio.sleep(0.1)
    raise RuntimeError("the service did not come up")


async def _paced(rate: float, seconds: float, act: Callable[[], Any]) -> None:
    """Begin `act` so many times a second for so long, whether or not earlier ones have ended; wait for all."""
    began, running = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        running.append(asyncio.create_task(act()))
    await asyncio.gather(*running)


async def _auctions(client: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Post tasks; how long each took to be decided, ms."""
    took: list[float] = []
    body = {
        "input": {"messages": [{"role": "user", "content": "Where is my parcel?"}], "max_output_tokens": 8},
        "constraints": {"max_cost_usd": "1"},
    }

    async def post() -> None:
        began = time.perf_counter()
        async with client.post("/v1/tasks", json=body) as answer:
            await answer.read()
        took.append((time.perf_counter() - began) * 1_000)

    await _paced(AUCTIONS_A_SECOND, seconds, post)
    return took


async def _push(
    client: aiohttp.ClientSession,
    offers: list[str],
    dice: random.Random,
    sent: dict[str, int],
    behind: list[float],
    seconds: float,
) -> None:
    """Push changes, 50 at a time; how long after each push the book had it, ms."""
    step = 0

    async def push() -> None:
        nonlocal step
        step += 1
        chosen = dice.sample(range(OFFERS), A_PUSH)
        prices = {offers[number]: _price(number, step) for number in chosen}
        quotes = [
            {"offer_id": offer, "prices": {"input_per_mtok": f"{p / 1e9:.9f}", "output_per_mtok": "1"}}
            for offer, p in prices.items()
        ]
        began = time.perf_counter()
        async with client.post("/v1/quotes", json={"quotes": quotes}) as answer:
            told = await answer.json()
        behind.append((time.perf_counter() - began) * 1_000)
        for quote in told["quotes"]:
            sent[quote["id"]] = prices[quote["offer_id"]]

    await _paced(CHANGES_A_SECOND / A_PUSH, seconds, push)


async def _lost(client: aiohttp.ClientSession, sent: dict[str, int]) -> int:
    """How many of the changes the market no longer has."""
    kept, after = dict[str, str](), ""
    while True:
        path = "/v1/quotes?limit=200" + (f"&after={after}" if after else "")
        async with client.get(path) as answer:
            found = await answer.json()
        kept |= {quote["id"]: quote["prices"]["input_per_mtok"] for quote in found["data"]}
        after = found["next"]
        if not after:
            break
    return sum(1 for quote, price in sent.items() if round(float(kept.get(quote, "0")) * 1e9) != price)


async def _counts(client: aiohttp.ClientSession) -> tuple[int, int]:
    """How many changes of the book came in time, and how many in all."""
    async with client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("lowtide_book_behind_seconds"))
    least = f'lowtide_book_behind_seconds_bucket{{le="{MOST_BEHIND_MS / 1_000:g}"}}'
    return int(float(found[least])), int(float(found["lowtide_book_behind_seconds_count"]))


async def _in_time(client: aiohttp.ClientSession, before: tuple[int, int]) -> tuple[int, int]:
    """Changes since `before`: those that came in time, and those that did not."""
    in_time, total = await _counts(client)
    return in_time - before[0], (total - before[1]) - (in_time - before[0])


def _judge(
    quiet: list[float], busy: list[float], behind: list[float], sent: int, lost: int, seconds: float
) -> list[str]:
    def spread(values: list[float]) -> tuple[float, float]:
        ordered = sorted(values)
        return statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]

    (q50, q99), (b50, b99), (l50, l99) = spread(quiet), spread(busy), spread(behind)
    slower = b50 / q50
    print(
        f"{sent} quote changes on {OFFERS} offers in {seconds:.0f} s on one core, with {AUCTIONS_A_SECOND} auctions a "
        f"second: {lost} lost; a push was answered, with the book having it, after {l50:.0f} ms (median), {l99:.0f} (p99), "
        f"{max(behind):.0f} (most); an auction took {b50:.1f} ms (p99 {b99:.1f}), without the changes {q50:.1f} "
        f"(p99 {q99:.1f}): {slower:.2f} times"
    )
    missed = []
    if lost:
        missed.append(f"{lost} of {sent} quote changes were lost")
    if slower > MOST_SLOWER:
        missed.append(
            f"auctions took {slower:.2f} times as long under changes; {MOST_SLOWER:.0f} is the target"
        )
    return missed
