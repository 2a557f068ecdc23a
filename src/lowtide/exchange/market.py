"""The running market: what every use case is handed."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from sqlalchemy.ext.asyncio import AsyncConnection

from lowtide.exchange.batch_times import BatchTimesBook
from lowtide.exchange.forecasts import Forecasts
from lowtide.exchange.held import HeldTasks
from lowtide.exchange.jobs import Jobs
from lowtide.exchange.live import Bidders
from lowtide.exchange.observe import Observations
from lowtide.exchange.scarcity import Scarcity
from lowtide.exchange.seal import BookKeeper, Touched
from lowtide.exchange.seeds import Seeds
from lowtide.exchange.task_types import TaskTypes
from lowtide.feeds.model_names import ModelNames
from lowtide.store.database import Database
from lowtide.store.tables import Provider
from lowtide.values.clock import Clock
from lowtide.values.instants import micros
from lowtide.wire.batch import BatchWire
from lowtide.wire.call import Wire


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator sets (`[market]` of config/lowtide.toml). Seconds are real for calls, market time for queues."""

    rule: str = "posted"
    queue_s: int = 60
    max_attempts: int = 6
    attempt_timeout_s: float = 120.0
    backoff_s: float = 0.5
    simulator_base: str | None = None
    allow_private_urls: bool = False
    feed_timeout_s: float = 20.0
    pool_s: float = 15.0
    """How long calls for a batch lane wait for others, in market time."""
    batch_poll_s: float = 5.0
    """The first pause between two looks at a batch, in real time."""
    spot_rest_s: float = 5.0
    """How long an offer is left alone that took a task back, in market time; for that task twice as long each time more."""
    reader_patience_s: float = 10.0
    quotes_kept_days: int = 7
    minute_bars_kept_days: int = 90
    book_kept_days: int = 7
    round_s: int = 900
    """Seconds of market time between call auctions, and the length of their slots; 0: none is held."""
    round_solve_s: float = 30.0
    """How long a call auction may be solved, in real time, before it is cleared greedily."""


@dataclass(slots=True)
class Market:
    """One node of the market. `credentials` maps an environment variable's name to a provider's key."""

    database: Database
    clock: Clock
    keeper: BookKeeper
    seeds: Seeds
    observations: Observations
    task_types: TaskTypes
    wires: Mapping[str, Wire]
    rules: Rules
    node: str
    guarded_wires: Mapping[str, Wire] = field(default_factory=dict)
    """For addresses that the API received: they reach public ones only. Empty where any may be reached."""
    batch_wires: Mapping[str, BatchWire] = field(default_factory=dict)
    guarded_batch_wires: Mapping[str, BatchWire] = field(default_factory=dict)
    batch_times: BatchTimesBook = field(default_factory=BatchTimesBook)
    forecasts: Forecasts = field(default_factory=Forecasts)
    held: HeldTasks = field(default_factory=HeldTasks)
    scarcity: Scarcity = field(default_factory=Scarcity)
    jobs: Jobs = field(default_factory=Jobs)
    credentials: Mapping[str, str] = field(default_factory=dict)
    model_names: ModelNames = field(default_factory=ModelNames)
    feed_client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    bid_client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    bidders: Bidders = field(init=False)
    dice: random.Random = field(default_factory=random.Random)
    """Spreads the runs of feeds; no decision rests on it."""

    def __post_init__(self) -> None:
        self.bidders = Bidders(self.database, self.bid_client)

    def now(self) -> int:
        """The market's instant, µs."""
        return micros(self.clock.now())

    def wire_of(self, provider: Provider) -> Wire | None:
        """The wire to a provider, None where there is none for its protocol."""
        guarded = self.guarded_wires if provider.source == "api" and not provider.simulated else None
        return (guarded or self.wires).get(provider.wire)

    def batch_wire_of(self, provider: Provider) -> BatchWire | None:
        """The wire on which a provider takes batches, None where it takes none."""
        guarded = self.guarded_batch_wires if provider.source == "api" and not provider.simulated else None
        return (guarded or self.batch_wires).get(provider.batch_wire or "")

    async def seal_conditions(self, offer_ids: Iterable[str], now: int, *, at_once: bool = False) -> int:
        """Publish what was observed of these offers where it has moved; how many conditions changed."""
        book, fresh = self.keeper.book, {}
        for offer_id in offer_ids:
            row = book.row_of.get(offer_id)
            if row is not None:
                moved = self.observations.to_seal(offer_id, book.rows[row].conditions, now, at_once=at_once)
                if moved is not None:
                    fresh[offer_id] = moved

        async def change(_conn: AsyncConnection, touched: Touched) -> None:
            touched.conditions |= fresh

        if fresh:
            await self.keeper.publish(change)
        return len(fresh)
