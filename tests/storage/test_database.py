"""The database file: who may read it, how it is opened, and what is refused."""

import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError

from gateway.storage.access_models import AdminRow
from gateway.storage.columns import Base
from gateway.storage.database import MIGRATIONS, Database, StorageFailed, StorageUnusable
from gateway.storage.keyring import open_secrets
from gateway.storage.models import PeerProposalRow
from gateway.storage.peers import ChildObject, PeerObject
from gateway.storage.repositories import load_inventory


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


HEAD = ScriptDirectory.from_config(_scripts()).get_current_head()


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


def test_the_migrations_go_back_and_forth(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'bare.db'}")
    config = _scripts()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_the_exchange_of_pre_shared_keys_comes_and_goes_with_the_rows_kept(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    config = _scripts()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        for statement in PEER.split(";")[:-1]:
            connection.execute(text(statement.replace(":", r"\:")))
        command.upgrade(config, "0011")
        assert connection.execute(text("SELECT name, ppk_exchange FROM peers")).all() == [("sun", "either")]
        command.downgrade(config, "0010")
        assert connection.execute(text("SELECT peers.name, children.name FROM peers, children")).all() == [
            ("sun", "net")
        ]
        strict = connection.execute(text("SELECT strict FROM pragma_table_list WHERE name = 'peers'")).scalar_one()
        assert (strict, "ppk_exchange" in {one["name"] for one in inspect(connection).get_columns("peers")}) == (
            1,
            False,
        )
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
        with pytest.raises(StorageFailed, match=r"locked.*Nothing was changed"), database.write() as session:
            raw = session.connection().connection.driver_connection
            pytest.fail(f"the second writer began: {raw}")
    finally:
        leave.set()
        thread.join()


NEXT = '''"""Rebuilds a table that others refer to, as SQLite makes migrations do."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("peers", recreate="always") as table:
        table.add_column(sa.Column("colour", sa.Text(), server_default="blue", nullable=False))
    {more}
'''
PEER = (
    "INSERT INTO peers (id, name, changed, description, enabled, remote_id, local_addresses, remote_addresses,"
    " remote_port, dpd_delay, rekey_time, retransmit_tries, retransmit_base, retransmit_factor, retransmit_jitter,"
    " force_encapsulation, uniqueness) VALUES (1,'sun',1,'',1,'%any','[]','[]',500,30,60,5,2,1.8,0.1,0,'keep');"
    "INSERT INTO children (id, peer_id, position, name, changed, description, local_selectors, remote_selectors,"
    " start, rekey_time, replay_window)"
    " VALUES (1,1,0,'net',1,'','[\"10.1.0.0/24\"]','[\"10.2.0.0/24\"]','always',60,128);"
    "INSERT INTO proposals VALUES (1,'ike',1,'','ike','[\"aes256gcm16-prfsha256-x25519\"]');"
    "INSERT INTO proposals VALUES (2,'esp',1,'','esp','[\"aes256gcm16\"]');"
    "INSERT INTO peer_proposals VALUES (1,0,1);"
    "INSERT INTO child_proposals VALUES (1,0,2);"
)


def _next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> Path:
    """A database of this version with a peer, and migrations that know one step more."""
    path = tmp_path / "data" / "config.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(PEER)
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "next.py").write_text(NEXT.format(more=more, head=HEAD))
    monkeypatch.setattr("gateway.storage.database.MIGRATIONS", migrations)
    return path


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_a_migration_keeps_what_refers_to_a_rebuilt_table_and_leaves_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _next_version(tmp_path, monkeypatch, "pass")
    database = Database(path)
    with database.read() as session:
        assert session.execute(text("SELECT name, colour FROM peers")).all() == [("sun", "blue")]
        assert session.execute(text("SELECT name FROM children")).all() == [("net",)]
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()
    copy = path.with_name("config.before-next.db")
    assert _mode(copy) == 0o600
    assert _rows(copy, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert _rows(copy, "SELECT name FROM children") == [("net",)]


def test_a_migration_that_fails_is_undone_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _next_version(tmp_path, monkeypatch, "op.execute('DELETE FROM peers')")
    with pytest.raises(StorageUnusable, match="2 rows that refer to nothing"):
        Database(path)
    assert _rows(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert _rows(path, "SELECT name FROM peers") == [("sun",)]


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    database = Database(path)
    with database.write() as session:
        for number in range(200):
            session.add(AdminRow(name=f"admin-{number}", password="x" * 500, created_at=0.0))
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'admins'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    with pytest.raises(StorageUnusable):
        Database(path)


def _first_version(path: Path) -> None:
    """A database as the first version left it, with PEER in it."""
    path.parent.mkdir()
    engine = create_engine(f"sqlite:///{path}")
    config = _scripts()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(PEER)


def test_what_the_first_version_stored_is_kept_and_gets_the_new_fields(tmp_path: Path) -> None:
    path = tmp_path / "data" / "config.db"
    _first_version(path)
    database = Database(path)
    box = open_secrets(database, tmp_path, 0.0, environment={})
    with database.read() as session:
        inventory = load_inventory(session, box)
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
    child = ChildObject(
        name="net",
        local_selectors=("10.1.0.0/24",),
        remote_selectors=("10.2.0.0/24",),
        rekey_time=60.0,
        esp_proposals=("esp",),
    )
    peer = PeerObject(name="sun", unique="keep", rekey_time=60.0, ike_proposals=("ike",), children=(child,))
    assert inventory.peers == {"sun": peer}
    database.close()
    assert _rows(path.with_name(f"config.before-{HEAD}.db"), "SELECT name FROM peers") == [("sun",)]


_REVISIONS = [script.revision for script in ScriptDirectory.from_config(_scripts()).walk_revisions()][:-1]


def _fill(connection: Connection) -> None:
    """A row, of whatever values, in every table that has none."""
    for table in connection.execute(text("SELECT name FROM pragma_table_list WHERE strict")).scalars().all():
        if connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one():
            continue
        values = {"INTEGER": "1", "REAL": "1.5", "TEXT": "'x'", "BLOB": "x'00'"}
        columns = connection.execute(text(f"SELECT name, type FROM pragma_table_info('{table}')")).all()
        names = ", ".join(f'"{name}"' for name, _ in columns)
        connection.execute(
            text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(values[kind] for _, kind in columns)})")
        )


def _state(connection: Connection) -> dict[str, tuple[int, int]]:
    """Of each table how many rows it has, and whether it is strict."""
    tables = connection.execute(text("SELECT name, strict FROM pragma_table_list WHERE type = 'table'")).all()
    counted = {name: strict for name, strict in tables if not name.startswith("sqlite_") and name != "alembic_version"}
    return {
        name: (connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one(), strict)
        for name, strict in counted.items()
    }


@pytest.mark.parametrize("checked", [True, False], ids=["references-checked", "references-unchecked"])
@pytest.mark.parametrize("revision", _REVISIONS)
def test_a_step_back_and_forth_keeps_the_rows_of_every_table_that_stays(
    tmp_path: Path, revision: str, checked: bool
) -> None:
    path = tmp_path / "data" / "config.db"
    _first_version(path)
    engine = create_engine(f"sqlite:///{path}")
    config = _scripts()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        _fill(connection)
        connection.commit()
        connection.exec_driver_sql(f"PRAGMA foreign_keys={'ON' if checked else 'OFF'}")
        full = _state(connection)
        command.downgrade(config, "-1")
        connection.commit()
        below = _state(connection)
        assert below == {name: state for name, state in full.items() if name in below}
        assert below["children"] == below["peer_proposals"] == below["child_proposals"] == (1, 1)
        command.upgrade(config, revision)
        connection.commit()
        again = _state(connection)
        assert {name: again[name] for name in below} == below
        assert {name: strict for name, (_, strict) in again.items()} == dict.fromkeys(full, 1)
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()


def test_the_proposal_of_new_peers_gets_its_new_name_from_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "data" / "config.db"
    _first_version(path)
    engine = create_engine(f"sqlite:///{path}")
    config = _scripts()
    kept = "SELECT name, description, suites FROM proposals WHERE name LIKE 'modern%' ORDER BY name"
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        insert = "INSERT INTO proposals (name, changed, description, protocol, suites) "
        connection.execute(text(insert + "VALUES ('modern-ike', 1, 'x', 'ike', '[]')"))
        command.upgrade(config, HEAD)
        connection.commit()
        assert connection.execute(text(kept)).all() == [("modern-ike", "x", "[]"), ("modern-pq-ike", "x", "[]")]
        assert connection.execute(text("SELECT post_quantum, post_quantum_from FROM peers")).all() == [
            ("default", None)
        ]
    engine.dispose()
