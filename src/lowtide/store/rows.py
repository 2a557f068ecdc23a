"""Rows in and out on a core connection: SQLModel instances without an ORM session, bulk inserts, guards."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, RowMapping, Table, bindparam, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import class_mapper
from sqlalchemy.sql.base import Executable
from sqlmodel import SQLModel

from lowtide.values.errors import Conflict

T = TypeVar("T", bound=SQLModel)

LOCK_BOOK, LOCK_LOG, LOCK_LISTING, LOCK_GROUP, LOCK_MIGRATION = range(0x10D7_1DE0, 0x10D7_1DE5)
"""PostgreSQL advisory locks: the book's head, the next leaf, row numbers, a group's commit, migration."""


class LostRace(Conflict):
    """A guarded update met another state or version than it was decided on. Load and decide again."""

    code = "lost_race"


@cache
def table_of(model: type[SQLModel]) -> Table:
    """The core table behind a model."""
    return cast("Table", vars(model)["__table__"])


async def fetch(conn: AsyncConnection, statement: Executable, model: type[T]) -> list[T]:
    """The rows of a select over a model's columns, as its instances."""
    result = await conn.execute(statement)
    return [_instance(model, row) for row in result.mappings()]


async def fetch_one(conn: AsyncConnection, statement: Executable, model: type[T]) -> T | None:
    """The first row as an instance, or None."""
    row = (await conn.execute(statement)).mappings().first()
    return None if row is None else _instance(model, row)


async def get(conn: AsyncConnection, model: type[T], key: Any) -> T | None:
    """The row under a one-column primary key, or None."""
    row = (await conn.execute(_by_key(model), {"the_key": key})).mappings().first()
    return None if row is None else _instance(model, row)


async def insert(conn: AsyncConnection, model: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows in one statement; what a row leaves out takes the model's default."""
    if rows:
        defaults = _defaults(model)
        await conn.execute(_insert(model), [{**defaults, **row} for row in rows])


async def insert_new(
    conn: AsyncConnection, model: type[SQLModel], row: Mapping[str, Any], unique: Sequence[str]
) -> bool:
    """Insert one row unless another has the same `unique` columns; True where it went in.

    No error is raised in the database, so the transaction stays usable on PostgreSQL.
    """
    statement = _insert_new(model, conn.dialect.name, tuple(unique))
    return await changed(conn, statement, {**_defaults(model), **row}) == 1


async def changed(
    conn: AsyncConnection, statement: Executable, values: Mapping[str, Any] | None = None
) -> int:
    """Run an insert, update or delete; the number of rows that it touched.

    Values under a column's name are written; those under other names are the statement's parameters.
    """
    return cast("CursorResult[object]", await conn.execute(statement, values)).rowcount


async def scalar_int(conn: AsyncConnection, statement: Executable) -> int:
    """The one integer that a select gives; null counts as 0."""
    return int((await conn.execute(statement)).scalar() or 0)


async def take_lock(conn: AsyncConnection, lock: int) -> None:
    """Hold a PostgreSQL advisory lock until the transaction ends. SQLite has one writer at a time anyway."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _instance(model: type[T], row: RowMapping) -> T:
    """A whole row as an instance, without the model's own construction: that takes twenty times as long."""
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    if values.keys() != model.model_fields.keys():
        return model(**values)
    made = class_mapper(model).class_manager.new_instance()
    vars(made).update(values)
    for name, value in (("fields_set", set(values)), ("extra", None), ("private", None)):
        object.__setattr__(made, f"__pydantic_{name}__", value)
    return made


# Statements are built once: building one anew costs more than running it.


@cache
def _by_key(model: type[SQLModel]) -> Executable:
    table = table_of(model)
    (column,) = table.primary_key.columns
    return select(table).where(column == bindparam("the_key"))


@cache
def _insert(model: type[SQLModel]) -> Executable:
    return table_of(model).insert()


@cache
def _insert_new(model: type[SQLModel], dialect: str, unique: tuple[str, ...]) -> Executable:
    insert_of = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert_of(table_of(model)).on_conflict_do_nothing(index_elements=list(unique))


@cache
def _defaults(model: type[SQLModel]) -> dict[str, Any]:
    counted = table_of(model).autoincrement_column
    return {
        name: field.default
        for name, field in model.model_fields.items()
        if not field.is_required() and (counted is None or name != counted.name)
    }
