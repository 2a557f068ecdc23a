"""Batches: calls handed in together to a seller's batch API, and which batch wire a provider speaks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the provider's batch wire, and the tables of batches and of the attempts in them."""
    op.add_column("providers", sa.Column("batch_wire", sa.String(), nullable=True))
    op.create_table(
        "batches",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("provider_id", sa.String(), sa.ForeignKey("providers.id"), nullable=False),
        sa.Column("credential", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("upstream_id", sa.String(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("rescue_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
    )
    op.create_index("batches_by_state", "batches", ["state"])
    op.create_index("batches_by_end", "batches", ["ended_at"])
    op.create_table(
        "batch_items",
        sa.Column("attempt_id", sa.String(), sa.ForeignKey("attempts.id"), primary_key=True),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=True),
        sa.Column("rescue_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("batch_items_by_batch", "batch_items", ["batch_id"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("batch_items")
    op.drop_table("batches")
    op.drop_column("providers", "batch_wire")
