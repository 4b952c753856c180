"""The configuration database: one SQLite file, opened by one process, brought to the present schema at start."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "trusted_schema=OFF",
)


class StorageUnusable(Exception):
    """The database cannot be opened; the message is a sentence that says why and what to do."""


class StorageFailed(Exception):
    """The database could not be written just now; nothing was changed. The message is a sentence that says why."""


class Database:
    """The file `path`; made, locked against a second process, and migrated. Raises StorageUnusable.

    Sessions are for one thread each; any number may read while one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(path)
        try:
            _make(path)
            self._engine = _engine(path)
            self._writing = self._engine.execution_options(ikegate_write=True)
            self._migrate()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the database and writes nothing."""
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in a transaction that has the write lock from its beginning; committed unless the block raises.

        Raises StorageFailed when the disk is full or broken, or somebody else keeps the database locked.
        """
        try:
            with Session(self._writing) as session, session.begin():
                yield session
        except OperationalError as error:
            raise StorageFailed(f"{self.path.name} could not be written: {error.orig}. Nothing was changed.") from error

    def close(self) -> None:
        """Give the file back; may be called twice."""
        if hasattr(self, "_engine"):
            self._engine.dispose()
        self._lock.close()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head()
        try:
            with _references_unchecked(self._writing) as connection, connection.begin():
                _check_whole(self.path, connection)
                present = MigrationContext.configure(connection).get_current_revision()
                if present == head:
                    return
                _refuse_newer(self.path, present, scripts)
                if present is not None:
                    _copy(self.path, self.path.with_suffix(f".before-{head}.db"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _check_references(connection)
        except DatabaseError as error:
            raise StorageUnusable(f"{self.path} is no usable database: {error.orig}.") from None


@contextmanager
def _references_unchecked(engine: Engine) -> Iterator[Connection]:
    """A connection on which a table can be rebuilt: dropping the old one must not delete what refers to it."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            yield connection
        finally:
            connection.close()
            engine.dispose()  # whoever connects next gets the checks again


def _check_whole(path: Path, connection: Connection) -> None:
    found = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if found != "ok":
        raise StorageUnusable(f"{path} is damaged ({found}). Nothing was changed: restore a copy of it.")


def _refuse_newer(path: Path, present: str | None, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if present is not None and present not in known:
        raise StorageUnusable(
            f"{path} was written by a newer version of ikegate (its schema is {present}, this version knows up to "
            f"{scripts.get_current_head()}). Nothing was changed: run the newer version, or restore an older copy."
        )


def _check_references(connection: Connection) -> None:
    broken = connection.execute(text("PRAGMA foreign_key_check")).all()
    if broken:
        raise StorageUnusable(f"The migration left {len(broken)} rows that refer to nothing; it was undone.")


def _lock(path: Path) -> IO[str]:
    """Hold the file `<name>.lock` while we have the database: its content is kept in memory, so there is one of us."""
    lock = os.fdopen(os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StorageUnusable(f"{path} is in use by another ikegate process.") from None
    return lock


def _make(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives its companions (-wal, -shm) the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StorageUnusable(f"{path} cannot be opened: {error.strerror}.") from None


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        with closing(connection.cursor()) as cursor:
            for pragma in _PRAGMAS:
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes can fail halfway; one that will write says so at once.
        writes = connection.get_execution_options().get("ikegate_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _copy(source: Path, target: Path) -> None:
    """A consistent copy of the database as it is, readable by its owner only."""
    _make(target)
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)
