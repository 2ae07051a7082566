"""Opening the index: one SQL database, brought to the present schema, owner-only."""

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipelines.errors import ConfigurationError, MailoverError
from pipelines.index.tables import index_info

_BUSY_SECONDS = 60
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-32768",
    # Deleted rows are overwritten where that costs no more writing; `scrub` does the rest.
    "secure_delete=FAST",
)


class Index:
    """A handle on the index database; safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Open the database at an SQLAlchemy URL, creating or migrating it.

        Raises ``ConfigurationError`` for a database that this version cannot serve and
        ``MailoverError`` where it cannot be opened.
        """
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            raise ConfigurationError(
                f"storage.index: {parsed.get_backend_name()} is not supported by this version",
                remedy="use sqlite:///<path>, such as sqlite:///mailover.db",
            )
        try:
            self._engine = _sqlite_engine(parsed)
            self.index_id = _prepare(self._engine)
        except (sa.exc.DatabaseError, OSError) as error:
            raise MailoverError(
                f"the index {parsed.database} cannot be opened: {_cause(error)}",
                remedy="check storage.index, and that the file and its folder are yours to write",
            ) from None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view of the index."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or nothing."""
        try:
            with (
                self._engine.connect().execution_options(immediate=True) as connection,
                connection.begin(),
            ):
                yield connection
        except sa.exc.OperationalError as error:
            raise MailoverError(
                f"the index cannot be written: {_cause(error)}; nothing of this batch was kept",
                remedy="check free space and permissions; the next run goes on from the last commit",
            ) from None

    def scrub(self) -> None:
        """Write the database anew without the remains of what was deleted, and empty its log.

        Others can read meanwhile, not write. Raises ``MailoverError`` as ``empty_log`` does, and
        where the disk is full.
        """
        self._alone("VACUUM")
        self.empty_log()

    def empty_log(self) -> None:
        """Bring everything from the log into the database file, and cut the log to nothing.

        Raises ``MailoverError`` where somebody goes on reading an older state.
        """
        busy, *_ = self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise MailoverError(
                "somebody is reading the index: its log could not be emptied of what was deleted",
                remedy="close what reads it, such as a database browser, and do the same once more",
            )

    def _alone(self, statement: str) -> Any:
        """Run a statement that has to stand outside of any transaction; its first row."""
        connection = self._engine.raw_connection()
        try:
            return connection.cursor().execute(statement).fetchone()
        except sqlite3.OperationalError as error:
            raise MailoverError(
                f"the index cannot be written anew: {error}",
                remedy="it needs as much free space again as it has, and nobody writing; then do it again",
            ) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()


def _cause(error: sa.exc.DatabaseError | OSError) -> str:
    """The driver's own sentence, without SQLAlchemy's copy of the statement and its values."""
    return str(error.orig) if isinstance(error, sa.exc.DatabaseError) else error.strerror or str(error)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        # SQLite gives -wal and -shm the mode of the database file.
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o600))
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction control begins late and deferred; SQLAlchemy's recipe is to do it here.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _prepare(engine: sa.Engine) -> str:
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(scripts).get_current_head()
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        current = MigrationContext.configure(connection).get_current_revision()
        if current != head:
            scripts.attributes["connection"] = connection
            _upgrade(scripts, current)
        index_id = connection.scalar(sa.select(index_info.c.index_id))
        if index_id is None:
            index_id = uuid.uuid4().hex
            connection.execute(index_info.insert().values(index_id=index_id, created_at=datetime.now(UTC)))
    return index_id


def _upgrade(scripts: AlembicConfig, current: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(scripts).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"storage.index was written by a newer version of Mailover (schema {current})",
            remedy="install that version, or point storage.index elsewhere",
        )
    command.upgrade(scripts, "head")
