"""Runs the migrations on the connection that gateway.storage.database holds."""

from alembic import context

from gateway.storage import access_models, history_models, models  # noqa: F401  they lay their tables on it
from gateway.storage.columns import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
