"""The database file: who may read it, how it is opened, and what is refused."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from gateway.storage.database import Database, StorageUnusable
from gateway.storage.models import AdminRow, Base, PeerProposalRow


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "data" / "config.db")
    with database.write() as session:
        session.add(AdminRow(name="a", password="x", created_at=0.0))
    files = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert files == ["config.db", "config.db-shm", "config.db-wal", "config.lock"]
    assert {_mode(path) for path in (tmp_path / "data").iterdir()} == {0o600}
    assert _mode(tmp_path / "data") == 0o700
    database.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2), ("trusted_schema", 0), ("busy_timeout", 5000)],
)
def test_every_connection_has_the_pragmas(database: Database, pragma: str, value: object) -> None:
    for opened in (database.read, database.write):
        with opened() as session:
            assert session.scalar(text(f"PRAGMA {pragma}")) == value


def test_the_migrations_make_exactly_the_models(database: Database) -> None:
    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_every_table_is_strict(database: Database) -> None:
    with database.read() as session:
        tables = session.execute(text("SELECT name, strict FROM pragma_table_list WHERE type = 'table'")).all()
    ours = {name: strict for name, strict in tables if name in Base.metadata.tables}
    assert ours.keys() == Base.metadata.tables.keys()
    assert set(ours.values()) == {1}


def test_the_first_migration_goes_back_and_forth(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, inspect

    from gateway.storage.database import MIGRATIONS

    engine = create_engine(f"sqlite:///{tmp_path / 'bare.db'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("CREATE TABLE of_the_future (x)")
    with pytest.raises(StorageUnusable, match=r"newer version of ikegate .*9999.*Nothing was changed"):
        Database(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
        assert connection.execute("SELECT count(*) FROM of_the_future").fetchone() == (0,)


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    path.write_bytes(b"these are somebody's holiday pictures " * 100)
    before = path.read_bytes()
    with pytest.raises(StorageUnusable, match="no usable database"):
        Database(path)
    assert path.read_bytes() == before


def test_a_second_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = Database(tmp_path / "config.db")
    with pytest.raises(StorageUnusable, match="in use by another"):
        Database(tmp_path / "config.db")
    first.close()
    first.close()
    Database(tmp_path / "config.db").close()


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        session.add(AdminRow(name="a", password="x", created_at=0.0))
        session.flush()
        raise RuntimeError
    with database.read() as session:
        assert session.scalars(select(AdminRow)).all() == []


def test_references_to_nothing_are_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(PeerProposalRow(peer_id=7, position=0, proposal_id=7))


def test_a_writer_has_the_lock_from_its_beginning(database: Database) -> None:
    """A second writer waits at its beginning, not in the middle of its work; readers do not wait at all."""
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with database.write() as session:
            session.connection()
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=write)
    thread.start()
    assert entered.wait(10)
    try:
        with database.read() as session:
            assert session.scalars(select(AdminRow)).all() == []
        with pytest.raises(OperationalError, match="locked"), database.write() as session:
            raw = session.connection().connection.driver_connection
            pytest.fail(f"the second writer began: {raw}")
    finally:
        leave.set()
        thread.join()
