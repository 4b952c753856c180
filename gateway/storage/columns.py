"""What all tables of the database are made of: types of columns that SQLite lacks, and the base of the rows."""

import json
from typing import Any

from sqlalchemy import REAL, Integer, LargeBinary, MetaData, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Flag(TypeDecorator[bool]):
    """A boolean as 0 or 1: a STRICT table knows no BOOLEAN."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


class Texts(TypeDecorator[tuple[str, ...]]):
    """An ordered list of texts as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(list(value), ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(json.loads(value))


class Records(TypeDecorator[tuple[Any, ...]]):
    """A list of small records as a JSON array; they go in as models and come out as plain data."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps([one.model_dump(mode="json") for one in value], ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[Any, ...] | None:
        return None if value is None else tuple(json.loads(value))


class Base(DeclarativeBase):
    """Every table is STRICT, and its keys are named, so that a migration can name them."""

    __table_args__: Any = {"sqlite_strict": True}  # noqa: RUF012

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, float: REAL, int: Integer, bytes: LargeBinary, bool: Flag, tuple[str, ...]: Texts}  # noqa: RUF012


NUMBERED = {"sqlite_strict": True, "sqlite_autoincrement": True}
"""The arguments of a table whose rows' numbers, which bind their secrets, are never used again."""


class NamedRow:
    """What every table of objects with a name begins with: before the table's own columns, as the database has them."""

    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)
    name: Mapped[str] = mapped_column(unique=True, sort_order=-1)
    changed: Mapped[int] = mapped_column(sort_order=-1)
    description: Mapped[str] = mapped_column(sort_order=-1)
