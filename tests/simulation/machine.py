"""A computer that can die: the real index and lake, fast, with a moment before, in and after each write.

The index is SQLite in memory, brought to its schema once; the lake is a folder whose files
are published as ever, without waiting for a disk. Both tell the world of each write, and a
``Crash`` may come of it. After one nothing more is written until the world starts again.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from pipelines.index import lease
from pipelines.index.engine import Index
from pipelines.index.tables import index_info
from pipelines.ingest import stages
from pipelines.lake.storage import Lake


class Crash(BaseException):
    """The process dies here: nothing that handles errors may see it."""


class Moment(StrEnum):
    """What is about to happen, or has."""

    COMMAND = "command"
    """A server is asked for something."""
    BEFORE = "before a write"
    INSIDE = "inside a write"
    """A transaction that is not committed, a file that is not published."""
    COPY = "before a copy of the index's own state"
    AFTER = "after a write"


Tick = Callable[[Moment], None]


class MemoryIndex(Index):
    """The index of one world; a process has one database, which the newest world owns."""

    def __init__(self, tick: Tick, committed: Callable[[], None], index_id: str) -> None:
        """``committed`` is called after every commit, before anything else can happen."""
        self._engine, self._name = _engine(), "in memory"
        self._reader = self._writer = self._engine
        self._tick, self._committed = tick, committed
        self.lose(index_id)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._tick(Moment.BEFORE)
        with super().write() as connection:
            yield connection
            self._tick(Moment.INSIDE)
        self._committed()
        self._tick(Moment.AFTER)

    def lose(self, index_id: str) -> None:
        """An empty database of the present schema takes the index's place."""
        _template().backup(self._database())
        self.index_id = index_id
        with super().write() as connection:
            connection.execute(sa.update(index_info).values(index_id=index_id))

    def copy(self) -> sqlite3.Connection:
        """A copy to be restored later."""
        copied = sqlite3.connect(":memory:")
        self._database().backup(copied)
        return copied

    def restore(self, copied: sqlite3.Connection) -> None:
        """An older state takes the index's place."""
        copied.backup(self._database())
        with self.read() as connection:
            self.index_id = str(connection.scalar(sa.select(index_info.c.index_id)))

    def close(self) -> None:
        """The database stays for the next world."""

    def _database(self) -> sqlite3.Connection:
        connection = self._engine.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        return connection


@cache
def _template() -> sqlite3.Connection:
    with TemporaryDirectory() as folder:
        Index(f"sqlite:///{folder}/template.db").close()
        with sqlite3.connect(f"{folder}/template.db") as made:
            kept = sqlite3.connect(":memory:", check_same_thread=False)
            made.backup(kept)
        made.close()
    return kept


@cache
def _engine() -> sa.Engine:
    # One engine for all worlds: SQLAlchemy compiles a statement once for each.
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # What ``exec_driver_sql`` does, without a cursor of SQLAlchemy's for it.
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN")

    return engine


class QuickLake(Lake):
    """A lake on a local folder that does not wait for the disk."""

    def __init__(self, folder: Path, tick: Tick) -> None:
        super().__init__(str(folder))
        self._tick = tick

    def _write(self, path: str, content: Any) -> None:
        self._tick(Moment.COPY if path.startswith("control/") else Moment.BEFORE)
        target = Path(self.root) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name(f".{target.name}.{os.getpid()}")
        hidden.write_bytes(memoryview(content))
        self._tick(Moment.INSIDE)
        hidden.rename(target)
        self._tick(Moment.AFTER)

    def delete(self, path: str) -> None:
        self._tick(Moment.BEFORE)
        super().delete(path)
        self._tick(Moment.AFTER)


class _NoHeartbeat:
    """No time passes while a run lives, so its lease needs no heartbeat."""

    def __init__(self, **_told: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


class OneByOne(Executor):
    """A pool of threads without threads: one mailbox is no crowd, and an order of events can be replayed."""

    def __init__(self, *_told: Any, **_named: Any) -> None:
        pass

    def submit(self, work: Callable[..., Any], /, *told: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*told, **named))
        except BaseException as error:  # noqa: BLE001 - a future keeps whatever comes
            done.set_exception(error)
        return done


def forget_leases() -> None:
    """What a process that has died no longer knows."""
    lease._HELD.clear()


@contextmanager
def without_threads() -> Iterator[None]:
    """Everything happens in one thread."""
    patched: Any = lease
    patched_stages: Any = stages
    threading, pool = patched.threading, patched_stages.ThreadPoolExecutor
    patched.threading = SimpleNamespace(Thread=_NoHeartbeat, Event=threading.Event)
    patched_stages.ThreadPoolExecutor = OneByOne
    try:
        yield
    finally:
        patched.threading = threading
        patched_stages.ThreadPoolExecutor = pool
