"""Devices, sightings and invitations in the database, and how their tables come and go."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from gateway.storage.database import MIGRATIONS, Database
from gateway.storage.history import load_sightings, save_sightings
from gateway.storage.invites import forget_invites, load_invites, save_invite

INVITE = {
    "id": "ab",
    "digest": "cd" * 32,
    "device": "anna/phone",
    "peer": "people",
    "on_demand": True,
    "life": 86_400.0,
    "created_at": 1.5,
    "created_by": "root",
    "expires_at": 2.5,
    "opened_at": None,
    "used_at": 2.0,
    "used_from": "192.0.2.7",
    "platform": "apple",
    "revoked_at": None,
}


def test_invitations_are_kept_changed_and_forgotten(database: Database) -> None:
    other = INVITE | {"id": "ef", "digest": "01" * 32, "created_at": 1.0}
    with database.write() as session:
        save_invite(session, INVITE)
        save_invite(session, other)
    with database.write() as session:
        save_invite(session, INVITE | {"revoked_at": 3.0})
    with database.read() as session:
        assert load_invites(session) == [other, INVITE | {"revoked_at": 3.0}]
    with database.write() as session:
        forget_invites(session, ["ab"])
    with database.read() as session:
        assert load_invites(session) == [other]


def test_when_devices_were_seen_is_kept_changed_and_forgotten(database: Database) -> None:
    with database.write() as session:
        save_sightings(session, [("anna/phone", 1.0, 2.0), ("anna/desk", 1.0, 1.0)])
    with database.write() as session:
        save_sightings(session, [("anna/phone", 1.0, 3.0)], ["anna/desk"])
    with database.read() as session:
        assert load_sightings(session) == [("anna/phone", 1.0, 3.0)]


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def test_users_outlive_a_way_back_without_devices(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO users (name, changed, description, enabled, login, identities, groups, addresses, sessions, "
            "password) VALUES ('anna', 1, '', 1, '', '[]', '[]', '[]', 0, '')"
        )
        connection.execute(
            "INSERT INTO devices (name, changed, description, platform, authority, certificate) "
            "VALUES ('anna/phone', 1, '', '', '', '')"
        )
        connection.commit()
    config = _scripts()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        before = connection.scalar(text("SELECT version_num FROM alembic_version"))
        command.downgrade(config, "0012")
        assert connection.scalars(text("SELECT name FROM users")).all() == ["anna"]
        command.upgrade(config, str(before))
        assert connection.scalars(text("SELECT name FROM users")).all() == ["anna"]
        assert connection.scalars(text("SELECT name FROM devices")).all() == []
    engine.dispose()
