"""What Alembic runs for every migration: it uses the connection that `store.database` hands over."""

from __future__ import annotations

from alembic import context

from headwater.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
)
with context.begin_transaction():
    context.run_migrations()
