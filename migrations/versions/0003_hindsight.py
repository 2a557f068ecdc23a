"""Hindsight: of each task that was held, what waiting cost and what an all-knowing scheduler would have paid."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, with an index of what is still to be looked back on, and one by day."""
    op.create_table(
        "hindsights",
        sa.Column("task_id", sa.String(), sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("auction_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.Column("complete_by", sa.BigInteger(), nullable=False),
        sa.Column("latest_start", sa.BigInteger(), nullable=False),
        sa.Column("deadline_met", sa.Boolean(), nullable=False),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("paid_nano", sa.BigInteger(), nullable=False),
        sa.Column("immediate_nano", sa.BigInteger(), nullable=True),
        sa.Column("clairvoyant_nano", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
    )
    op.create_index("hindsights_due", "hindsights", ["due_at"])
    op.create_index("hindsights_by_arrival", "hindsights", ["arrived_at"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("hindsights")
