"""The index in one SQLite file, owner-only."""

import os
from copy import copy
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.lake.replacing import make_private

_BUSY_SECONDS = 60
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    # 16 MiB for each connection; the system's own cache of the file is behind it.
    "cache_size=-16384",
    # Deleted rows are overwritten where that costs no more writing; `Index.scrub` does the rest.
    "secure_delete=FAST",
)


def sqlite_engine(url: sa.URL) -> sa.Engine:
    """An engine on the file of ``url``, which is made if it is not there, and its folder too."""
    if url.database and url.database != ":memory:":
        make_private(Path(url.database).absolute().parent)
        # SQLite gives -wal and -shm the mode of the database file.
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o600))
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS},
        hide_parameters=True,
        # The connection that was used last: each has pages of the file in its own memory.
        pool_use_lifo=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction control begins late and deferred; see ``transactions``.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def transactions(engine: sa.Engine) -> tuple[sa.Engine, sa.Engine]:
    """``engine`` for transactions that read, and for those that write.

    Writers queue at the start of their transactions, not in their middle.
    """
    with engine.connect():
        pass  # the dialect learns from its first connection what SQLite can do
    return _beginning(engine, "BEGIN"), _beginning(engine, "BEGIN IMMEDIATE")


def _beginning(engine: sa.Engine, statement: str) -> sa.Engine:
    """The same connections, whose transactions begin with ``statement``.

    SQLAlchemy's recipe is an event; an engine with one looks for others four times a statement.
    """

    def begin(connection: Any) -> None:
        connection.execute(statement)

    other = engine.execution_options()
    other.dialect = copy(engine.dialect)
    other.dialect.do_begin = begin  # type: ignore[assignment, method-assign]
    return other
