"""Random markets of integers, drawn by hypothesis or by a seeded die: the same shapes either way."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from lowtide.market.book import Book, Row
from lowtide.market.quote import PriceStep
from lowtide.market.task import Task
from tests.market_builder import book, offer, task

Pick = Callable[[int, int], int]
"""An integer between two, both included."""
EXACT = 12_000_000
"""Unit prices that are multiples of this stay whole, and cost whole nano-USD, at every lie told below."""
PPM = 1_000_000


@dataclass(frozen=True)
class Seller:
    """An offer in plain numbers: nano-USD in total, or per million tokens; ppm; ms."""

    name: str
    total: int
    input: int = 0
    output: int = 0
    quality: int = 900_000
    latency: int = 0
    health: int = PPM
    settles: bool = True
    listing: tuple[tuple[str, Any], ...] = ()

    def row(self) -> Row:
        return offer(
            self.name,
            self.total,
            input=self.input,
            output=self.output,
            quality=self.quality / PPM,
            latency=self.latency,
            health=self.health / PPM,
            settles=self.settles,
            **dict(self.listing),
        )


@dataclass(frozen=True)
class Instance:
    """Sellers, and what a requester wants of them."""

    sellers: tuple[Seller, ...]
    wanted: tuple[tuple[str, Any], ...]
    reference_cost: int = 0

    def book(self) -> Book:
        return book(*(seller.row() for seller in self.sellers))

    def task(self) -> Task:
        return task(**dict(self.wanted))

    def with_seller(self, number: int, **changes: Any) -> "Instance":
        sellers = list(self.sellers)
        sellers[number] = replace(sellers[number], **changes)
        return replace(self, sellers=tuple(sellers))

    def without(self, name: str) -> "Instance":
        return replace(self, sellers=tuple(s for s in self.sellers if s.name != name))


def fixed_totals(pick: Pick) -> Instance:
    """Every offer at a fixed total of a few dozen nano-USD, so that ties and budgets bite."""
    sellers = tuple(Seller(f"o{number}", pick(1, 60), **_qualities(pick)) for number in range(pick(1, 6)))
    return Instance(sellers, _wanted(pick, unit=1), reference_cost=pick(0, 1) * pick(0, 50))


def exact_totals(pick: Pick) -> Instance:
    """Fixed totals where every term of a score is whole, so that all money can be scaled."""
    drawn = fixed_totals(pick)
    wanted = dict(drawn.wanted)
    wanted["per_second"] *= 1_000
    if wanted["value"] is not None:
        wanted["value"] *= PPM
    if wanted["max_cost"] is not None:
        wanted["max_cost"] *= 1_000
    sellers = tuple(replace(seller, total=seller.total * 1_000) for seller in drawn.sellers)
    return Instance(sellers, tuple(wanted.items()), drawn.reference_cost * PPM)


def token_prices(pick: Pick) -> Instance:
    """Unit prices that cost whole nano-USD, a few tokens in and out."""
    sellers = tuple(
        Seller(f"o{number}", 0, EXACT * pick(0, 5), EXACT * pick(1, 5), **_qualities(pick))
        for number in range(pick(1, 6))
    )
    tokens = {"input_bytes": 4 * pick(0, 8), "usual_output": pick(1, 4), "max_output": pick(4, 6)}
    return Instance(sellers, (*_wanted(pick, unit=12), *tokens.items()))


def any_market(pick: Pick) -> Instance:
    """Everything at once: prices of both kinds, steps, faults, limits; for comparing with the plain rules."""
    sellers = tuple(_any_seller(pick, number) for number in range(pick(1, 8)))
    wanted = dict(_wanted(pick, unit=40_000)) | {
        "input_bytes": pick(0, 4_000),
        "usual_output": (None, pick(0, 400))[pick(0, 1)],
        "max_output": (None, pick(1, 900))[pick(0, 1)],
        "n": pick(1, 3),
        "max_latency": (None, pick(1, 4_000))[pick(0, 1)],
        "features": ((), ("tools",))[pick(0, 1)],
        "regions": (None, ("eu",))[pick(0, 3) // 3],
        "zero_retention": pick(0, 3) == 3,
    }
    return Instance(sellers, tuple(wanted.items()), reference_cost=pick(0, 1) * pick(0, 10**6))


def _any_seller(pick: Pick, number: int) -> Seller:
    steps = [PriceStep(pick(0, 600), pick(0, 4 * 10**9), (None, pick(0, 4 * 10**9))[pick(0, 1)])]
    if pick(0, 1):
        steps.append(PriceStep(steps[0].above_tokens + pick(1, 400), pick(0, 4 * 10**9)))
    listing = {
        "steps": steps if pick(0, 2) == 2 else [],
        "write": (None, pick(0, 4 * 10**9))[pick(0, 1)],
        "us_per_token": pick(0, 5_000),
        "token_ratio": pick(500_000, 2_000_000) / PPM,
        "verbosity": pick(300_000, 4_000_000) / PPM,
        "p95": pick(0, 4_000),
        "p99": pick(0, 1) * pick(1, 9_000),
        "features": (("tools",), ())[pick(0, 4) // 4],
        "regions": (("eu",), ())[pick(0, 4) // 4],
        "zero_retention": pick(0, 1) == 1,
        "circuit": ("closed", "open")[pick(0, 6) // 6],
        "withdrawn": pick(0, 8) == 8,
        "context_window": pick(100, 3_000),
        "max_output_tokens": pick(50, 2_000),
    }
    return Seller(
        f"o{number}",
        pick(0, 1) * pick(0, 10**6),
        pick(0, 3 * 10**9),
        pick(0, 3 * 10**9),
        **_qualities(pick),
        listing=tuple(listing.items()),
    )


def _qualities(pick: Pick) -> dict[str, Any]:
    return {
        "quality": 50_000 * pick(10, 20),
        "latency": pick(0, 4) * 500,
        "health": PPM - 100_000 * pick(0, 3),
        "settles": pick(0, 4) > 0,
    }


def _wanted(pick: Pick, unit: int) -> tuple[tuple[str, Any], ...]:
    wanted: dict[str, Any] = {
        "value": (None, unit * pick(10, 120))[pick(0, 1)],
        "max_cost": (None, unit * pick(10, 80))[pick(0, 1)],
        "per_second": pick(0, 1) * pick(0, 10),
        "min_quality": (None, 0.05 * pick(10, 19))[pick(0, 1)],
        "fallback": (None, "o0")[pick(0, 3) // 3],
    }
    return tuple(wanted.items())


def drawn(shape: Callable[[Pick], Instance]) -> st.SearchStrategy[Instance]:
    """A shape, drawn by hypothesis."""

    @st.composite
    def build(draw: st.DrawFn) -> Instance:
        return shape(lambda low, high: draw(st.integers(low, high)))

    return build()


def rolled(shape: Callable[[Pick], Instance], count: int, seed: int) -> list[Instance]:
    """So many instances of a shape by a seeded die."""
    dice = random.Random(seed)
    return [shape(dice.randint) for _ in range(count)]
