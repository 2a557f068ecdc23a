"""Forecasts that written decisions rest on, so that these can be decided again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of forecasts."""
    op.create_table(
        "forecasts",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("forecasts")
