"""The newest call auction is found at once, however many auctions of single tasks came since."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

IS_CALL = sa.text("kind = 'call'")


def upgrade() -> None:
    """Add the index of call auctions."""
    op.create_index("auctions_calls", "auctions", ["id"], sqlite_where=IS_CALL, postgresql_where=IS_CALL)


def downgrade() -> None:
    """Take it away again."""
    op.drop_index("auctions_calls", "auctions")
