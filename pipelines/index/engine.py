"""Opening the index: one SQL database, brought to the present schema, owner-only."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.errors import ConfigurationError, MailoverError, UnreachableError
from pipelines.index import postgresql, sqlite
from pipelines.index.tables import index_info

_MIGRATIONS = Path(__file__).parent / "migrations"
_CONNECTION_STATES = ("08", "57P")
"""SQLSTATE classes of a connection that is lost; libpq gives none at all where none came about."""


class Index:
    """A handle on the index database; safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Open the database at an SQLAlchemy URL, creating or migrating it.

        Raises ``ConfigurationError`` for a database that this version cannot serve,
        ``UnreachableError`` where its server is not there, and ``MailoverError`` where it
        cannot be opened for another reason.
        """
        parsed = sa.make_url(url)
        self._name = _name(parsed)
        self._engine = _open(parsed)
        try:
            self._reader, self._writer = _transactions(self._engine)
            self.index_id = _prepare(self._writer)
        except (sa.exc.DatabaseError, ConfigurationError) as error:
            self._engine.dispose()
            if isinstance(error, ConfigurationError):
                raise
            raise self._error(error, "opened", "that the database is yours to write") from None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view of the index. Raises ``UnreachableError`` where its server is gone."""
        try:
            with self._reader.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise self._error(error, "read", "that its database answers") from None

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or nothing. Raises ``UnreachableError`` where the server is gone.

        A connection that is lost in the commit itself leaves open which of the two it was;
        the count of the lease's commits tells the next transaction.
        """
        try:
            with self._writer.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise self._error(error, "written", "its free space and permissions") from None

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    def scrub(self) -> None:
        """Clear away the remains of what was deleted.

        SQLite's file is written anew: others can read meanwhile, not write. PostgreSQL gives
        the space free to be overwritten. Raises ``MailoverError`` as ``empty_log`` does, and
        where the disk is full.
        """
        self._alone("VACUUM")
        self.empty_log()

    def empty_log(self) -> None:
        """Bring everything from SQLite's log into the database file, and cut the log to nothing.

        PostgreSQL's log is its server's. Raises ``MailoverError`` where somebody goes on reading
        an older state.
        """
        if self.dialect == "sqlite" and self._alone("PRAGMA wal_checkpoint(TRUNCATE)")[0]:
            raise MailoverError(
                "somebody is reading the index: its log could not be emptied of what was deleted",
                remedy="close what reads it, such as a database browser, and do the same once more",
            )

    def _alone(self, statement: str) -> Sequence[Any]:
        """Run a statement that has to stand outside of any transaction; its first row."""
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        driver_error = self._engine.dialect.loaded_dbapi.OperationalError
        connection.detach()
        try:
            if self.dialect == "postgresql":
                driver.autocommit = True
            cursor = driver.execute(statement)
            return cursor.fetchone() if cursor.description else ()
        except driver_error as error:
            cause = str(error).partition("\n")[0]
            raise MailoverError(
                f"the index cannot be written anew: {cause}",
                remedy="it needs as much free space again as it has, and nobody writing; then do it again",
            ) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def _error(self, error: sa.exc.DatabaseError, done: str, check: str) -> MailoverError:
        """The driver's own sentence, without SQLAlchemy's copy of the statement and its values."""
        cause = str(error.orig).partition("\n")[0]
        remedy = f"check storage.index, and {check}; the next run goes on from the last commit"
        state = getattr(error.orig, "sqlstate", "")
        if state is None or state.startswith(_CONNECTION_STATES):
            return UnreachableError(f"the index {self._name} cannot be reached: {cause}", remedy=remedy)
        return MailoverError(f"the index {self._name} cannot be {done}: {cause}", remedy=remedy)


def _open(url: sa.URL) -> sa.Engine:
    """An engine on the database."""
    backend = url.get_backend_name()
    try:
        if backend == "sqlite":
            return sqlite.sqlite_engine(url)
        if backend == "postgresql":
            return postgresql.postgresql_engine(url)
    except OSError as error:
        raise MailoverError(
            f"the index {_name(url)} cannot be opened: {error.strerror or error}",
            remedy="check storage.index, and that the file and its folder are yours to write",
        ) from None
    raise ConfigurationError(
        f"storage.index: {backend} is not supported by this version",
        remedy="use sqlite:///<path>, such as sqlite:///mailover.db, or postgresql://user@host/database",
    )


def _transactions(engine: sa.Engine) -> tuple[sa.Engine, sa.Engine]:
    """``engine`` for transactions that read, and for those that write: one pool of connections.

    What they are is told here, since options of a connection would be worked out for every transaction.
    """
    if engine.dialect.name == "sqlite":
        return sqlite.transactions(engine)
    return engine.execution_options(**postgresql.READING), engine.execution_options(**postgresql.WRITING)


def _name(url: sa.URL) -> str:
    """What errors call the database: never with its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    where = f" on {url.host}" if url.host else ""
    return f"{url.database or 'of the environment'}{where}"


def _prepare(engine: sa.Engine) -> str:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            postgresql.prepare(connection)
        revision = _revision(connection)
        if revision != _newest_revision():
            _upgrade(connection, revision)
        index_id = connection.scalar(sa.select(index_info.c.index_id))
        if index_id is None:
            index_id = uuid.uuid4().hex
            connection.execute(index_info.insert().values(index_id=index_id, created_at=datetime.now(UTC)))
    return index_id


def _revision(connection: sa.Connection) -> str | None:
    """The migration that the database has had last, by alembic's own note; None for a new one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalars(sa.text("SELECT version_num FROM alembic_version")).one_or_none()


def _newest_revision() -> str:
    return max(each.name.partition("_")[0] for each in (_MIGRATIONS / "versions").glob("*.py"))


def _upgrade(connection: sa.Connection, current: str | None) -> None:
    # Most processes find a database of the present schema; alembic is a tenth of what they would import.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    scripts = Config(attributes={"connection": connection})
    scripts.set_main_option("script_location", str(_MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(scripts).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"storage.index was written by a newer version of Mailover (schema {current})",
            remedy="install that version, or point storage.index elsewhere",
        )
    command.upgrade(scripts, "head")
