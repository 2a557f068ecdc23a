"""Alembic's environment. The connection is passed in, inside a transaction (see lowtide.store.migrate)."""

from alembic import context

from lowtide.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
