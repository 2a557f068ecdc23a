"""The market: the tables of the first release. Instants are µs UTC, money nano-USD, JSON is text."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def words(name: str, *constraints: Any, null: bool = False, key: bool = False) -> sa.Column[Any]:
    """A short text."""
    return sa.Column(name, sa.String(), *constraints, nullable=null, primary_key=key)


def long_text(name: str, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=null)


def small(name: str, null: bool = False, key: bool = False) -> sa.Column[Any]:
    """A count of 32 bits."""
    return sa.Column(name, sa.Integer(), nullable=null, primary_key=key, autoincrement=False)


def big(name: str, null: bool = False, key: bool = False) -> sa.Column[Any]:
    """An instant, an amount or a sequence: 64 bits."""
    return sa.Column(name, sa.BigInteger(), nullable=null, primary_key=key, autoincrement=False)


def flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def data(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def counted(name: str) -> sa.Column[Any]:
    """A key that the database counts up, 64 bits."""
    return sa.Column(
        name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
    )


def partial_index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    create_requesters()
    create_listings()
    create_prices()
    create_book()
    create_tasks()
    create_attempts()
    create_log()
    create_workings()


def create_requesters() -> None:
    op.create_table(
        "accounts",
        words("id", key=True),
        words("name"),
        big("credit_limit_nano", null=True),
        big("deposited_nano"),
        big("authorized_nano"),
        big("spent_nano"),
        big("created_at"),
        sa.UniqueConstraint("name"),
        sa.CheckConstraint("authorized_nano >= 0", name="accounts_authorized"),
        sa.CheckConstraint("spent_nano >= 0", name="accounts_spent"),
    )
    op.create_table(
        "api_keys",
        words("id", key=True),
        words("hash"),
        words("shown"),
        words("name"),
        words("role"),
        words("account_id", sa.ForeignKey("accounts.id")),
        words("provider_id", null=True),
        long_text("allow_models", null=True),
        long_text("allow_providers", null=True),
        long_text("allow_regions", null=True),
        big("expires_at", null=True),
        big("revoked_at", null=True),
        big("created_at"),
        sa.UniqueConstraint("hash"),
    )


def create_listings() -> None:
    op.create_table(
        "providers",
        words("id", key=True),
        words("name"),
        words("wire"),
        words("base_url"),
        long_text("credential_env"),
        small("discount_ppm"),
        words("max_tokens_field"),
        words("source"),
        flag("simulated"),
        big("created_at"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "offers",
        words("id", key=True),
        small("row"),
        words("provider_id", sa.ForeignKey("providers.id")),
        words("model"),
        words("upstream_model"),
        words("lane"),
        words("variant"),
        long_text("body"),
        words("price_source", null=True),
        big("withdrawn_at", null=True),
        big("created_at"),
        sa.UniqueConstraint("row"),
        sa.UniqueConstraint("provider_id", "upstream_model", "lane", "variant", name="offers_key"),
    )
    op.create_index("ix_offers_model", "offers", ["model"])
    op.create_table(
        "capacity",
        words("offer_id", key=True),
        small("concurrency", null=True),
        small("requests_per_minute", null=True),
        big("tokens_per_minute", null=True),
        small("usable", null=True),
        small("answered"),
        small("in_flight"),
        big("minute"),
        small("minute_requests"),
        big("minute_tokens"),
        sa.CheckConstraint("in_flight >= 0", name="capacity_in_flight"),
    )


def create_prices() -> None:
    op.create_table(
        "feeds",
        words("id", key=True),
        words("provider_id", sa.ForeignKey("providers.id")),
        words("kind"),
        long_text("spec"),
        long_text("health"),
        big("due_at", null=True),
        big("created_at"),
    )
    op.create_table(
        "quotes",
        words("id", key=True),
        words("offer_id", sa.ForeignKey("offers.id")),
        words("source"),
        big("sequence"),
        big("valid_from"),
        big("valid_until", null=True),
        long_text("prices"),
        flag("quarantined"),
        big("taken_at"),
    )
    op.create_index("quotes_by_offer", "quotes", ["offer_id", "source", "sequence"])


def create_book() -> None:
    op.create_table("book_versions", big("version", key=True), data("digest"), big("sealed_at"))
    op.create_table(
        "book_rows",
        small("row", key=True),
        words("kind", key=True),
        big("from_version", key=True),
        data("line"),
    )
    op.create_index("book_rows_by_version", "book_rows", ["from_version"])


def create_tasks() -> None:
    op.create_table(
        "tasks",
        words("id", key=True),
        words("account_id", sa.ForeignKey("accounts.id")),
        words("key_id"),
        words("state"),
        small("version"),
        words("reason", null=True),
        words("task_type"),
        long_text("posted"),
        long_text("decided_as"),
        long_text("labels"),
        big("created_at"),
        big("complete_by", null=True),
        big("release_at", null=True),
        big("expires_at", null=True),
        words("auction_id", null=True),
        long_text("hold", null=True),
        long_text("award", null=True),
        long_text("receipt", null=True),
        long_text("nearest", null=True),
        big("authorized_nano"),
        small("attempts"),
        words("lease_owner", null=True),
        big("finished_at", null=True),
    )
    partial_index("tasks_held", "tasks", "release_at", "state = 'held'")
    partial_index("tasks_queued", "tasks", "expires_at", "state = 'queued'")
    partial_index("tasks_leased", "tasks", "lease_owner", "state in ('assigned', 'running')")
    op.create_index("tasks_by_account", "tasks", ["account_id", "id"])
    op.create_table(
        "task_payloads",
        words("task_id", sa.ForeignKey("tasks.id"), key=True),
        long_text("input"),
        long_text("result", null=True),
    )
    op.create_table(
        "auctions",
        words("id", key=True),
        words("task_id"),
        words("kind"),
        words("outcome"),
        words("reason", null=True),
        words("winner", null=True),
        words("winner_provider", null=True),
        big("price_nano", null=True),
        big("as_of"),
        big("book_version"),
    )
    op.create_index("ix_auctions_task_id", "auctions", ["task_id"])


def create_attempts() -> None:
    op.create_table(
        "attempts",
        words("id", key=True),
        words("task_id", sa.ForeignKey("tasks.id")),
        small("number"),
        words("auction_id"),
        words("offer_id"),
        words("provider"),
        words("state"),
        words("outcome", null=True),
        long_text("detail", null=True),
        big("bid_nano"),
        big("worst_nano"),
        big("price_nano"),
        long_text("prices"),
        big("cost_nano"),
        long_text("usage", null=True),
        big("started_at"),
        big("ended_at", null=True),
        flag("possibly_billed_twice"),
    )
    op.create_index("attempts_by_task", "attempts", ["task_id", "number"], unique=True)
    op.create_table(
        "transfers",
        words("id", key=True),
        words("task_id", null=True),
        words("kind"),
        small("number"),
        words("debit"),
        words("credit"),
        big("amount_nano"),
        big("at"),
        sa.UniqueConstraint("task_id", "kind", "number", name="transfers_once"),
        sa.CheckConstraint("amount_nano >= 0", name="transfers_amount"),
    )
    op.create_index("transfers_by_debit", "transfers", ["debit"])


def create_log() -> None:
    op.create_table(
        "log",
        counted("id"),
        big("leaf_index", null=True),
        words("type"),
        words("auction_id", null=True),
        data("line"),
        data("leaf_hash"),
    )
    partial_index("log_unnumbered", "log", "id", "leaf_index is null")
    op.create_index("log_by_auction", "log", ["auction_id"])
    op.create_index("log_by_leaf", "log", ["leaf_index"], unique=True)
    op.create_table("seeds", big("hour", key=True), data("seed"), data("hash"))


def create_workings() -> None:
    op.create_table("events", counted("id"), words("task_id"), words("kind"), long_text("data"), big("at"))
    op.create_index("events_by_task", "events", ["task_id", "id"])
    op.create_table(
        "idempotency_keys",
        words("principal", key=True),
        words("key", key=True),
        words("request_hash"),
        words("resource_id"),
        small("status", null=True),
        long_text("response", null=True),
        big("created_at"),
    )
    op.create_table("duties", words("name", key=True), words("owner"), big("until"))
