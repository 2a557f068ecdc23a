"""Markets in one line: offers, tasks, books and decisions of the pure core, as tests want to say them.

Money is a USD string, or an int of nano-USD. A price is a fixed total an answer, unless `input` and `output` give
unit prices (per million tokens). Latency is that of the whole answer, ms. Quality is a probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lowtide.market import auction
from lowtide.market.auction import Decision
from lowtide.market.book import Book, Row
from lowtide.market.deferral.continuation import Forecast, ForecastUse
from lowtide.market.deferral.progress import JobProgress
from lowtide.market.eligibility import LossReason
from lowtide.market.explain import BidView, bid_views, min_to_win
from lowtide.market.live import LiveBid
from lowtide.market.offer import Conditions, Offer
from lowtide.market.quote import Prices, PriceStep, Quote
from lowtide.market.reputation import z_ppm
from lowtide.market.spot import Inputs
from lowtide.market.task import Constraints, Lists, Needs, Objective, Task
from lowtide.values.money import nano

NOW = 1_764_000_000_000_000
KEY = bytes(32)
Money = str | int


def nano_of(money: Money) -> int:
    """Nano-USD of a USD string; an int is nano-USD already."""
    return money if isinstance(money, int) else nano(money)


def ppm(probability: float) -> int:
    """Parts per million of a probability."""
    return round(probability * 1_000_000)


def prices(
    price: Money = 0,
    *,
    input: Money | None = 0,
    output: Money | None = 0,
    cached: Money | None = None,
    write: Money | None = None,
    steps: Sequence[PriceStep] = (),
) -> Prices:
    """A fixed total, or unit prices, or both."""
    known = [None if money is None else nano_of(money) for money in (input, output, cached, write)]
    return Prices(*known, per_request=nano_of(price), steps=tuple(steps))


def quote(
    price: Money = 0,
    start: int = 0,
    until: int | None = None,
    *,
    sequence: int = 1,
    quarantined: bool = False,
    **unit_prices: Any,
) -> Quote:
    """A quote over [start, until), µs."""
    return Quote(prices(price, **unit_prices), start, until, sequence, quarantined)


def offer(
    name: str,
    price: Money = 0,
    *,
    quality: float | Mapping[str, float] = 0.9,
    weight: int = 20,
    latency: int = 800,
    p95: int | None = None,
    p99: int = 0,
    us_per_token: int = 0,
    health: float = 1.0,
    circuit: str = "closed",
    token_ratio: float = 1.0,
    verbosity: float = 1.0,
    price_max: tuple[int, int, int] | None = None,
    provider: str | None = None,
    model: str = "model",
    quotes: Sequence[Quote] | None = None,
    input: Money | None = 0,
    output: Money | None = 0,
    cached: Money | None = None,
    write: Money | None = None,
    steps: Sequence[PriceStep] = (),
    **listing: Any,
) -> Row:
    """A row of the book whose offer's id is `name`, of a provider of its own unless one is named."""
    by_domain = quality if isinstance(quality, Mapping) else {"": quality}
    conditions = Conditions(
        health_ppm=ppm(health),
        circuit=circuit,
        first_token_p50_ms=latency,
        first_token_p95_ms=latency if p95 is None else p95,
        us_per_token=us_per_token,
        completion_p99_ms=p99,
        token_ratio_ppm=ppm(token_ratio),
        verbosity_ppm=ppm(verbosity),
        quality=tuple((domain, ppm(mean), weight * 1_000) for domain, mean in by_domain.items()),
        price_max=price_max,
    )
    listed = Offer(name, provider or f"{name}-provider", model, name, **listing)
    always = Quote(
        prices(price, input=input, output=output, cached=cached, write=write, steps=steps), 0, None, 1
    )
    return Row(listed, (always,) if quotes is None else tuple(quotes), conditions)


def book(*rows: Row, version: int = 1) -> Book:
    """A version of the book with these rows."""
    return Book(version, rows)


def task(
    *,
    value: Money | None = None,
    per_second: Money = 0,
    fallback: str | None = None,
    max_cost: Money | None = None,
    min_quality: float | None = None,
    confidence: float = 0.5,
    max_latency: int | None = None,
    complete_by: int | None = None,
    regions: tuple[str, ...] | None = None,
    zero_retention: bool = False,
    modalities: tuple[str, ...] = ("text",),
    features: tuple[str, ...] = (),
    lists: Lists | None = None,
    **fields: Any,
) -> Task:
    """A task; money as in offers, quality and confidence as probabilities, latency in ms, `complete_by` in µs."""
    return Task(
        "task_1",
        needs=Needs(modalities, features),
        constraints=Constraints(
            min_quality_ppm=None if min_quality is None else ppm(min_quality),
            confidence_ppm=ppm(confidence),
            z_ppm=z_ppm(ppm(confidence)),
            max_latency_ms=max_latency,
            max_cost_nano=None if max_cost is None else nano_of(max_cost),
            complete_by=complete_by,
            regions=regions,
            zero_retention=zero_retention,
        ),
        objective=Objective(None if value is None else nano_of(value), nano_of(per_second), fallback),
        lists=lists or Lists(),
        **fields,
    )


@dataclass(frozen=True, slots=True)
class Result:
    """A decision that answers by the names of offers."""

    task: Task
    book: Book
    at: int
    key: bytes
    decision: Decision
    inputs: Inputs

    @property
    def outcome(self) -> str:
        return self.decision.outcome

    @property
    def winner(self) -> str | None:
        won = self.decision.winner
        return None if won is None else self.book.rows[won.row].offer.id

    @property
    def price(self) -> int | None:
        """What the winner is paid, nano-USD."""
        return self.decision.price_nano

    @property
    def thin(self) -> bool:
        return self.decision.thin

    @property
    def ranking(self) -> list[str]:
        return [self.book.rows[bid.row].offer.id for bid in self.decision.top]

    def score(self, name: str) -> int:
        return int(self.decision.spot.score[self.book.row_of[name]])

    def bid(self, name: str) -> int:
        return int(self.decision.spot.bids.expected[self.book.row_of[name]])

    def worst(self, name: str) -> int:
        return int(self.decision.spot.bids.worst[self.book.row_of[name]])

    def loss_reason(self, name: str) -> str | None:
        """The reason's code, None for the winner and for bids still in."""
        reason = LossReason(int(self.decision.reasons[self.book.row_of[name]]))
        return None if reason == LossReason.NONE else reason.code

    def min_to_win(self, name: str) -> int | None:
        return min_to_win(self.task, self.decision, self.book.row_of[name])

    def views(self) -> list[BidView]:
        return bid_views(self.task, self.inputs, self.at, self.key, self.decision)


def decide(
    wanted: Task,
    market: Book,
    *,
    at: int = NOW,
    rule: str = "posted",
    key: bytes = KEY,
    refused: Sequence[str] = (),
    reference_cost: Money = 0,
    live: Sequence[LiveBid] = (),
    closes_at: int | None = None,
    closed_lanes: tuple[str, ...] = (),
    forecasts: Mapping[str, Forecast] = MappingProxyType({}),
    pools: Mapping[tuple[str, ...], Forecast] = MappingProxyType({}),
    preemptible: tuple[str, ...] = (),
    resting: Mapping[str, int] = MappingProxyType({}),
    job: JobProgress | None = None,
    may_wait: bool = True,
) -> Result:
    """Decide a task on a book. `refused` names the offers whose reservation failed; `forecasts`, `resting` are by offer.

    `pools` are by the offers in it.
    """
    uses = [ForecastUse(market.row_of[name], found) for name, found in forecasts.items()]
    for names, found in pools.items():
        rows = tuple(market.row_of[name] for name in names)
        uses.append(ForecastUse(rows[0], found, rows))
    inputs = Inputs(
        rule,
        tuple(market.row_of[name] for name in refused),
        nano_of(reference_cost),
        tuple(live),
        closes_at,
        closed_lanes,
        forecasts=tuple(uses),
        preemptible=preemptible,
        resting=tuple((market.row_of[name], until) for name, until in resting.items()),
        job=job,
        may_wait=may_wait,
    )
    return Result(wanted, market, at, key, auction.decide(wanted, market, inputs, at, key), inputs)
