"""The tables of RECORD.md. Instants are integer µs UTC, money integer nano-USD; JSON stands as text.

SQLModel tables do not validate: whatever is written here was validated before.
"""

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

IS_HELD = text("state = 'held'")
HAS_JOB = text("job is not null")
IS_QUEUED = text("state = 'queued'")
IS_LEASED = text("state in ('assigned', 'running')")
IS_UNNUMBERED = text("leaf_index is null")
IS_CALL = text("kind = 'call'")
"""Predicates of partial indexes; queries must say them in the same words for the index to serve."""


def _big(*, nullable: bool = False, primary_key: bool = False) -> Any:
    column: Column[Any] = Column(BigInteger, nullable=nullable, primary_key=primary_key, autoincrement=False)
    return Field(default=None if nullable else 0, sa_column=column)


def _counted() -> Any:
    """A 64-bit key that the database counts up; SQLite does so for INTEGER only, which has 64 bits there."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Field(default=None, sa_column=Column(kind, primary_key=True, autoincrement=True))


def _text(*, nullable: bool = False) -> Any:
    return Field(default=None if nullable else "", sa_column=Column(Text, nullable=nullable))


class Account(SQLModel, table=True):
    """Who pays. Available = deposited + credit − authorized − spent; `credit_limit_nano` null: no limit."""

    __tablename__: ClassVar[Any] = "accounts"
    __table_args__ = (
        CheckConstraint("authorized_nano >= 0", name="accounts_authorized"),
        CheckConstraint("spent_nano >= 0", name="accounts_spent"),
    )
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    credit_limit_nano: int | None = _big(nullable=True)
    deposited_nano: int = _big()
    authorized_nano: int = _big()
    spent_nano: int = _big()
    created_at: int = _big()


class ApiKey(SQLModel, table=True):
    """A key: only the SHA-256 of its 256 random bits is kept, so a fast hash is enough."""

    __tablename__: ClassVar[Any] = "api_keys"
    id: str = Field(primary_key=True)
    hash: str = Field(unique=True)
    shown: str
    name: str = ""
    role: str
    account_id: str = Field(foreign_key="accounts.id")
    provider_id: str | None = None
    allow_models: str | None = _text(nullable=True)
    allow_providers: str | None = _text(nullable=True)
    allow_regions: str | None = _text(nullable=True)
    expires_at: int | None = _big(nullable=True)
    revoked_at: int | None = _big(nullable=True)
    created_at: int = _big()


class Provider(SQLModel, table=True):
    """A seller: its wire, that of batches if it takes any, its address, and the names of its credentials' variables."""

    __tablename__: ClassVar[Any] = "providers"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    wire: str
    base_url: str
    credential_env: str = _text()
    discount_ppm: int = 0
    max_tokens_field: str = "max_completion_tokens"
    batch_wire: str | None = None
    source: str = "api"
    simulated: bool = False
    created_at: int = _big()


class OfferRow(SQLModel, table=True):
    """A listing. `row`, its number in the book, never changes; `body` is the listing as canonical JSON."""

    __tablename__: ClassVar[Any] = "offers"
    __table_args__ = (
        UniqueConstraint("provider_id", "upstream_model", "lane", "variant", name="offers_key"),
    )
    id: str = Field(primary_key=True)
    row: int = Field(unique=True)
    provider_id: str = Field(foreign_key="providers.id")
    model: str = Field(index=True)
    upstream_model: str
    lane: str
    variant: str = ""
    body: str = _text()
    price_source: str | None = None
    listed_by: str | None = None
    """The feed that listed it and keeps the listing; None where somebody did by hand."""
    withdrawn_at: int | None = _big(nullable=True)
    created_at: int = _big()


class CapacityRow(SQLModel, table=True):
    """Places taken at an offer. Limits null are unlimited; `usable` shrinks on 429 and grows back.

    `answered` counts answers since `usable` last moved: it grows by one for each full round of answers.
    """

    __tablename__: ClassVar[Any] = "capacity"
    __table_args__ = (CheckConstraint("in_flight >= 0", name="capacity_in_flight"),)
    offer_id: str = Field(primary_key=True)
    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = _big(nullable=True)
    usable: int | None = None
    answered: int = 0
    in_flight: int = 0
    minute: int = _big()
    minute_requests: int = 0
    minute_tokens: int = _big()


class Feed(SQLModel, table=True):
    """How quotes arrive; `spec` is its settings, `health` what the last runs gave (JSON), `secret` signs bid requests."""

    __tablename__: ClassVar[Any] = "feeds"
    id: str = Field(primary_key=True)
    provider_id: str = Field(foreign_key="providers.id")
    kind: str
    spec: str = _text()
    health: str = _text()
    due_at: int | None = _big(nullable=True)
    secret: str | None = _text(nullable=True)
    closed_at: int | None = _big(nullable=True)
    created_at: int = _big()


class QuoteRow(SQLModel, table=True):
    """One quote as taken. `source` is `push` or a feed's id; `sequence` counts per offer and source.

    `raw_hash` is the SHA-256 (hexadecimal) of what the source sent; `capacity` (JSON) the places it comes with.
    Until `firm_until` its seller may not take it back.
    """

    __tablename__: ClassVar[Any] = "quotes"
    __table_args__ = (Index("quotes_by_offer", "offer_id", "source", "sequence"),)
    id: str = Field(primary_key=True)
    offer_id: str = Field(foreign_key="offers.id")
    source: str
    sequence: int = _big()
    valid_from: int = _big()
    valid_until: int | None = _big(nullable=True)
    prices: str = _text()
    capacity: str | None = _text(nullable=True)
    firm_until: int | None = _big(nullable=True)
    quarantined: bool = False
    raw_hash: str | None = None
    taken_at: int = _big()


class PriceBar(SQLModel, table=True):
    """Compacted history: an offer's prices from a source over one minute or hour (`step`, µs) in which they changed.

    `bars` is JSON: the time in which a price held, whether one did at the end, and by price its open, high, low,
    close, and the sum of price × µs (as text: it is beyond 2^53), so that means join exactly.
    """

    __tablename__: ClassVar[Any] = "price_bars"
    offer_id: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    step: int = _big(primary_key=True)
    start: int = _big(primary_key=True)
    bars: str = _text()


class Notice(SQLModel, table=True):
    """A notice to a bidder, to be delivered at least once: written with what it tells of, deleted when it has arrived."""

    __tablename__: ClassVar[Any] = "notices"
    __table_args__ = (Index("notices_due", "due_at"),)
    id: str = Field(primary_key=True)
    feed_id: str
    body: str = _text()
    tries: int = 0
    due_at: int = _big()
    created_at: int = _big()


class BookVersion(SQLModel, table=True):
    """A sealed version of the book."""

    __tablename__: ClassVar[Any] = "book_versions"
    version: int = _big(primary_key=True)
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sealed_at: int = _big()


class BookRow(SQLModel, table=True):
    """A line of the book from a version on, until a newer one of its row and kind (`row`, `conditions`)."""

    __tablename__: ClassVar[Any] = "book_rows"
    __table_args__ = (Index("book_rows_by_version", "from_version"),)
    row: int = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    from_version: int = _big(primary_key=True)
    line: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class TaskRow(SQLModel, table=True):
    """A task: constraints, state, hold, award, receipt. Every change is guarded by state and version."""

    __tablename__: ClassVar[Any] = "tasks"
    __table_args__ = (
        Index("tasks_held", "release_at", sqlite_where=IS_HELD, postgresql_where=IS_HELD),
        Index("tasks_queued", "expires_at", sqlite_where=IS_QUEUED, postgresql_where=IS_QUEUED),
        Index("tasks_leased", "lease_owner", sqlite_where=IS_LEASED, postgresql_where=IS_LEASED),
        Index("tasks_by_account", "account_id", "id"),
        Index("tasks_by_job", "account_id", "job", "state", sqlite_where=HAS_JOB, postgresql_where=HAS_JOB),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.id")
    key_id: str
    state: str
    version: int = 0
    reason: str | None = None
    task_type: str
    job: str | None = None
    posted: str = _text()
    decided_as: str = _text()
    labels: str = _text()
    created_at: int = _big()
    complete_by: int | None = _big(nullable=True)
    release_at: int | None = _big(nullable=True)
    expires_at: int | None = _big(nullable=True)
    auction_id: str | None = None
    hold: str | None = _text(nullable=True)
    award: str | None = _text(nullable=True)
    receipt: str | None = _text(nullable=True)
    nearest: str | None = _text(nullable=True)
    authorized_nano: int = _big()
    attempts: int = 0
    lease_owner: str | None = None
    finished_at: int | None = _big(nullable=True)


class TaskPayload(SQLModel, table=True):
    """What a task asks and what came back, apart from the record, under retention and erasure."""

    __tablename__: ClassVar[Any] = "task_payloads"
    task_id: str = Field(primary_key=True, foreign_key="tasks.id")
    input: str = _text()
    result: str | None = _text(nullable=True)


class AuctionRow(SQLModel, table=True):
    """The columns people filter auctions by; the record itself is the log's line. A call auction's task is ''."""

    __tablename__: ClassVar[Any] = "auctions"
    __table_args__ = (
        Index("auctions_by_version", "book_version"),
        Index("auctions_calls", "id", sqlite_where=IS_CALL, postgresql_where=IS_CALL),
    )
    id: str = Field(primary_key=True)
    task_id: str = Field(index=True)
    kind: str
    outcome: str
    reason: str | None = None
    winner: str | None = None
    winner_provider: str | None = None
    price_nano: int | None = _big(nullable=True)
    as_of: int = _big()
    book_version: int = _big()


class LogLine(SQLModel, table=True):
    """The log. A sealer numbers committed lines (`leaf_index`) in one order; a line never changes."""

    __tablename__: ClassVar[Any] = "log"
    __table_args__ = (
        Index("log_unnumbered", "id", sqlite_where=IS_UNNUMBERED, postgresql_where=IS_UNNUMBERED),
        Index("log_by_auction", "auction_id"),
        Index("log_by_leaf", "leaf_index", unique=True),
    )
    id: int | None = _counted()
    leaf_index: int | None = _big(nullable=True)
    type: str
    auction_id: str | None = None
    line: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    leaf_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Seed(SQLModel, table=True):
    """The tie-breaking seed of an hour (µs of its start); its hash may be told at once, the seed after it."""

    __tablename__: ClassVar[Any] = "seeds"
    hour: int = _big(primary_key=True)
    seed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Attempt(SQLModel, table=True):
    """One call of a provider. States: started, answered, failed, cancelled, unknown."""

    __tablename__: ClassVar[Any] = "attempts"
    __table_args__ = (Index("attempts_by_task", "task_id", "number", unique=True),)
    id: str = Field(primary_key=True)
    task_id: str = Field(foreign_key="tasks.id")
    number: int
    auction_id: str
    offer_id: str
    provider: str
    state: str
    outcome: str | None = None
    detail: str | None = _text(nullable=True)
    bid_nano: int = _big()
    worst_nano: int = _big()
    price_nano: int = _big()
    prices: str = _text()
    cost_nano: int = _big()
    usage: str | None = _text(nullable=True)
    started_at: int = _big()
    ended_at: int | None = _big(nullable=True)
    possibly_billed_twice: bool = False


class BatchRow(SQLModel, table=True):
    """Calls handed in together to a seller's batch API. States: new, sending, sent, cancelling, ended.

    `credential` names the variable whose key it was sent with; `rescue_at` is the earliest of its items'.
    """

    __tablename__: ClassVar[Any] = "batches"
    __table_args__ = (Index("batches_by_state", "state"), Index("batches_by_end", "ended_at"))
    id: str = Field(primary_key=True)
    provider_id: str = Field(foreign_key="providers.id")
    credential: str | None = None
    state: str
    upstream_id: str | None = None
    calls: int
    rescue_at: int = _big()
    created_at: int = _big()
    sent_at: int | None = _big(nullable=True)
    ended_at: int | None = _big(nullable=True)
    outcome: str | None = None
    detail: str | None = _text(nullable=True)


class BatchItem(SQLModel, table=True):
    """An attempt on a batch lane that has not ended; without a batch it waits to be handed in."""

    __tablename__: ClassVar[Any] = "batch_items"
    __table_args__ = (Index("batch_items_by_batch", "batch_id"),)
    attempt_id: str = Field(primary_key=True, foreign_key="attempts.id")
    task_id: str
    provider_id: str
    offer_id: str
    batch_id: str | None = None
    rescue_at: int = _big()
    created_at: int = _big()


class ForecastRow(SQLModel, table=True):
    """A forecast that a written decision rests on: stored once, under its digest, which is the SHA-256 of `line`.

    `line` is its canonical JSON: integer continuation values by slots left; `pool` the offer whose price it is of.
    """

    __tablename__: ClassVar[Any] = "forecasts"
    digest: str = Field(primary_key=True)
    pool: str
    made_at: int = _big()
    line: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class HindsightRow(SQLModel, table=True):
    """What waiting came to for a task that was held: paid, at once, and by an all-knowing scheduler (nano-USD).

    `due_at` is when the window is over and the last can be known; None once it is.
    """

    __tablename__: ClassVar[Any] = "hindsights"
    __table_args__ = (
        Index("hindsights_due", "due_at"),
        Index("hindsights_by_arrival", "arrived_at"),
    )
    task_id: str = Field(primary_key=True, foreign_key="tasks.id")
    account_id: str
    auction_id: str
    state: str
    arrived_at: int = _big()
    complete_by: int = _big()
    latest_start: int = _big()
    deadline_met: bool
    usage: str | None = _text(nullable=True)
    paid_nano: int = _big()
    immediate_nano: int | None = _big(nullable=True)
    clairvoyant_nano: int | None = _big(nullable=True)
    due_at: int | None = _big(nullable=True)


class Transfer(SQLModel, table=True):
    """Double entry: `amount_nano` from debited to credited account; unique per task, kind and number."""

    __tablename__: ClassVar[Any] = "transfers"
    __table_args__ = (
        UniqueConstraint("task_id", "kind", "number", name="transfers_once"),
        CheckConstraint("amount_nano >= 0", name="transfers_amount"),
        Index("transfers_by_debit", "debit"),
    )
    id: str = Field(primary_key=True)
    task_id: str | None = None
    kind: str
    number: int = 0
    debit: str
    credit: str
    amount_nano: int = _big()
    at: int = _big()


class Event(SQLModel, table=True):
    """Outbox of state changes, for streams and webhooks."""

    __tablename__: ClassVar[Any] = "events"
    __table_args__ = (Index("events_by_task", "task_id", "id"),)
    id: int | None = _counted()
    task_id: str
    kind: str
    data: str = _text()
    at: int = _big()


class IdempotencyKey(SQLModel, table=True):
    """A POST's key, what it made, and the answer given; claimed in the commit that makes the thing."""

    __tablename__: ClassVar[Any] = "idempotency_keys"
    principal: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request_hash: str
    resource_id: str
    status: int | None = None
    response: str | None = _text(nullable=True)
    created_at: int = _big()


class Duty(SQLModel, table=True):
    """A named lease: work that one node does for the fleet, or a node's own sign of life (`node:…`)."""

    __tablename__: ClassVar[Any] = "duties"
    name: str = Field(primary_key=True)
    owner: str
    until: int = _big()


METADATA: MetaData = SQLModel.metadata
