"""Books as heterogeneous as a real market's, reproducible by seed."""

import random
from dataclasses import replace

from lowtide.market.book import Book, Row
from lowtide.market.offer import FEATURES, LANES, Conditions, Offer
from lowtide.market.quote import Prices, PriceStep, Quote
from lowtide.market.task import Constraints, Needs, Task

NOW = 1_764_000_000_000_000
_HOUR_US = 3_600_000_000
_CONTEXTS = (32_000, 128_000, 200_000, 1_000_000)


def random_book(offers: int, seed: int = 7, version: int = 1) -> Book:
    """Offers of a fleet of providers and models: prices over two decades, some unable, ill, withdrawn or unpriced."""
    dice = random.Random(seed)
    return Book(version, [random_row(number, dice) for number in range(offers)])


def random_row(number: int, dice: random.Random) -> Row:
    """One row; about a tenth can serve nobody just now."""
    offer = Offer(
        id=f"offer_{number:06}",
        provider=f"provider-{number % 211}",
        model=f"model-{number % 97}",
        upstream_model=f"upstream-{number}",
        lane=dice.choice(LANES),
        settles=dice.random() < 0.5,
        features=tuple(name for name in FEATURES if dice.random() < 0.8),
        context_window=dice.choice(_CONTEXTS),
        max_output_tokens=dice.choice((2_048, 4_096, 8_192, 32_768)),
        regions=tuple(dice.sample(("eu", "us", "asia"), dice.randint(1, 2))),
        zero_retention=dice.random() < 0.5,
        withdrawn=dice.random() < 0.02,
    )
    conditions = Conditions(
        health_ppm=dice.randint(900_000, 1_000_000),
        circuit="open" if dice.random() < 0.02 else "closed",
        first_token_p50_ms=dice.randint(150, 2_000),
        first_token_p95_ms=dice.randint(2_000, 9_000),
        us_per_token=dice.randint(3_000, 50_000),
        completion_p99_ms=dice.choice((0, dice.randint(5_000, 60_000))),
        token_ratio_ppm=dice.randint(900_000, 1_300_000),
        verbosity_ppm=dice.randint(500_000, 4_000_000),
        answers=dice.randint(0, 500),
        quality=(("", dice.randint(500_000, 990_000), dice.randint(4_000, 500_000)),),
    )
    return Row(offer, _quotes(dice), conditions)


def _quotes(dice: random.Random) -> tuple[Quote, ...]:
    base = int(10 ** dice.uniform(7.5, 10.0))
    unknown = dice.random() < 0.01
    steps = (PriceStep(128_000, base * 2, base * 6),) if dice.random() < 0.05 else ()
    by_day = Prices(base, None if unknown else base * 4, base // 10, steps=steps)
    by_night = Prices(base // 2, None if unknown else base * 2, base // 20, steps=steps)
    if dice.random() < 0.8:
        return (Quote(by_day, 0, None, 1, quarantined=dice.random() < 0.01),)
    start = NOW + dice.randint(1, 23) * _HOUR_US
    return (Quote(by_day, 0, None, 1), Quote(by_night, start, start + 6 * _HOUR_US, 2))


def random_row_change(book: Book, seed: int) -> dict[int, Row]:
    """One row of the book with another price."""
    dice = random.Random(seed)
    number = dice.randrange(len(book))
    row = book.rows[number]
    return {number: Row(row.offer, _quotes(dice), row.conditions)}


def mixed_tasks(count: int, seed: int = 7) -> list[Task]:
    """Tasks of eight types: a type has its usual output, limits and needs, each task its own size and budget."""
    dice = random.Random(seed)
    types = [_type(f"type_{number}", dice) for number in range(8)]
    tasks = []
    for number in range(count):
        like = dice.choice(types)
        limits = replace(like.constraints, max_cost_nano=dice.randint(2_000_000, 30_000_000))
        tasks.append(
            replace(like, id=f"task_{number}", input_bytes=dice.randint(200, 40_000), constraints=limits)
        )
    return tasks


def _type(name: str, dice: random.Random) -> Task:
    return Task(
        "",
        type=name,
        usual_output=dice.randint(50, 900),
        max_output=dice.choice((500, 1_000, 2_000)),
        needs=Needs(features=dice.choice(((), ("json_schema",), ("tools",)))),
        constraints=Constraints(
            min_quality_ppm=dice.choice((700_000, 800_000, 900_000)),
            max_latency_ms=dice.choice((15_000, 30_000, 60_000)),
        ),
    )


def typical_task(task_id: str = "task_1", bytes_in: int = 4_000, usual: int = 300) -> Task:
    """A chat turn with a floor, a budget and a latency limit, and no deadline: it runs at once or not at all."""
    limits = Constraints(min_quality_ppm=700_000, max_latency_ms=30_000, max_cost_nano=10_000_000)
    return Task(
        task_id,
        type="chat",
        input_bytes=bytes_in,
        usual_output=usual,
        max_output=1_000,
        needs=Needs(features=("json_schema",)),
        constraints=limits,
    )
