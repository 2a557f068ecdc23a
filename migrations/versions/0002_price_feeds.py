"""Price feeds: who listed an offer, what a quote was made from, compacted history, notices to bidders."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables; what the catalog listed so far is marked as listed by its feed."""
    op.add_column("offers", sa.Column("listed_by", sa.String(), nullable=True))
    op.execute("update offers set listed_by = price_source where price_source like 'feed\\_%' escape '\\'")
    op.add_column("feeds", sa.Column("secret", sa.Text(), nullable=True))
    op.add_column("feeds", sa.Column("closed_at", sa.BigInteger(), nullable=True))
    op.add_column("quotes", sa.Column("capacity", sa.Text(), nullable=True))
    op.add_column("quotes", sa.Column("firm_until", sa.BigInteger(), nullable=True))
    op.add_column("quotes", sa.Column("raw_hash", sa.String(), nullable=True))
    op.create_table(
        "price_bars",
        sa.Column("offer_id", sa.String(), primary_key=True),
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("step", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("bars", sa.Text(), nullable=False),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("feed_id", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("notices_due", "notices", ["due_at"])
    op.create_index("auctions_by_version", "auctions", ["book_version"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("auctions_by_version", "auctions")
    op.drop_table("notices")
    op.drop_table("price_bars")
    for table, column in (
        ("quotes", "raw_hash"),
        ("quotes", "firm_until"),
        ("quotes", "capacity"),
        ("feeds", "closed_at"),
        ("feeds", "secret"),
        ("offers", "listed_by"),
    ):
        op.drop_column(table, column)
