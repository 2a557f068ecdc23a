"""The job that a task is part of: tasks of one account that share a job and its deadline."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
_HAS_JOB = sa.text("job is not null")


def upgrade() -> None:
    """Add the column, and an index of the tasks that have it."""
    op.add_column("tasks", sa.Column("job", sa.String(), nullable=True))
    op.create_index(
        "tasks_by_job",
        "tasks",
        ["account_id", "job", "state"],
        sqlite_where=_HAS_JOB,
        postgresql_where=_HAS_JOB,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("tasks_by_job", "tasks")
    op.drop_column("tasks", "job")
