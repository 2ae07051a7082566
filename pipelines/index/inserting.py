"""Inserting rows, in the words of each database: unless they are there, and many at once; updating many."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An ``INSERT`` that knows ``ON CONFLICT``, which SQLAlchemy has for each database by itself."""
    return insert_by(connection.dialect.name, table)


def insert_by(dialect: str, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """The same, for a statement that is kept: by the name of the database's dialect."""
    if dialect == "postgresql":
        # A thirtieth of a second to import, which SQLite's users need not spend.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_many(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows that have the same columns: on PostgreSQL by COPY, which costs a third of INSERT.

    On SQLite by the driver itself: SQLAlchemy's own work for many rows costs more than SQLite's.
    """
    values = list(rows)
    if not values:
        return
    names = list(values[0])
    bound = _bound(connection, table, values)
    if connection.dialect.name == "postgresql":
        copy(connection, table.name, names, bound)
        return
    columns, places = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    statement = f'INSERT INTO "{table.name}" ({columns}) VALUES ({places})'  # noqa: S608 - names of ours
    connection.exec_driver_sql(statement, list(bound))


def insert_numbered(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], key: str
) -> dict[Any, int]:
    """The same for rows of a table with an ``id``; the ids by the column ``key``.

    The open write transaction keeps the numbers free that SQLite would give them.
    """
    if connection.dialect.name == "postgresql":
        ids = next_numbers(connection, f"{table.name}_id_seq", len(rows))
    else:
        first = (connection.scalar(sa.select(sa.func.max(table.c.id))) or 0) + 1
        ids = list(range(first, first + len(rows)))
    insert_many(connection, table, ({"id": row_id, **row} for row_id, row in zip(ids, rows, strict=True)))
    return {row[key]: row_id for row_id, row in zip(ids, rows, strict=True)}


def update_many(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Give rows, named by their ``id``, new values; all have the same columns."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("old_id"))
        .values({name: sa.bindparam(f"new_{name}") for name in names}),
        [{"old_id": row["id"], **{f"new_{name}": row[name] for name in names}} for row in rows],
    )


def next_numbers(connection: sa.Connection, sequence: str, count: int) -> list[int]:
    """So many numbers of a PostgreSQL sequence, which nobody else gets."""
    drawn = sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count))
    return list(connection.scalars(drawn))


def copy(
    connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Hand rows to PostgreSQL by COPY, in the open transaction."""
    statement = f'COPY "{table}" ({", ".join(columns)}) FROM STDIN'
    driver = connection.dialect.dbapi
    assert driver
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as into:  # type: ignore[attr-defined]
            for row in rows:
                into.write_row(row)
    except driver.Error as error:
        # As SQLAlchemy raises what its own statements meet.
        raise sa.exc.DBAPIError.instance(statement, None, error, driver.Error) from error


def _bound(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]
) -> Iterable[tuple[Any, ...]]:
    """The rows' values as the driver takes them."""
    columns = []
    for name in rows[0]:
        process = table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        values = [row[name] for row in rows]
        columns.append([process(value) for value in values] if process else values)
    return zip(*columns, strict=True)
