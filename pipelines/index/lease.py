"""One writer per mailbox, across threads, processes and machines.

The lease is a row; its epoch is a fencing token: a commit under an older epoch fails.
"""

import os
import platform
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.clock import Clock
from pipelines.errors import LeaseHeldError, LeaseLostError, MailoverError
from pipelines.index.engine import Index
from pipelines.index.tables import mailboxes

HEARTBEAT_SECONDS = 20
SILENCE = timedelta(minutes=2)
"""After this long without a heartbeat a holder on another machine counts as dead."""


@dataclass(slots=True)
class Lease:
    """The right to write one mailbox, as long as nobody else has taken it since."""

    mailbox_id: int
    address: str
    epoch: int
    commits: int
    """Commits made to this mailbox so far; the next one carries this number."""
    adopted_epoch: int = 0
    """Files of this epoch and older were in the lake when the index was built from it: all of them count."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


_HELD: set[str] = set()
"""Tokens of the leases that this process holds."""


@contextmanager
def hold(index: Index, address: str, clock: Clock) -> Iterator[Lease]:
    """Hold the mailbox's lease, with a heartbeat, for the length of the block.

    Raises ``LeaseHeldError`` where a living run has it, ``LeaseLostError`` in place of any error
    of the block after another run has taken the mailbox over.
    """
    lease = _acquire(index, address, clock.now())
    stopped = threading.Event()
    heartbeat = threading.Thread(
        target=_beat, args=(index, lease, clock, stopped), name=f"lease {address}", daemon=True
    )
    heartbeat.start()
    try:
        yield lease
    except Exception:
        # Whatever has failed, it is the doing of the run that has the mailbox now.
        _must_be_mine(index, lease)
        raise
    finally:
        stopped.set()
        heartbeat.join()
        # Before the row: should the database be gone, nobody need wait for this process to end.
        _HELD.discard(lease.token)
        with index.write() as connection:
            connection.execute(_GIVE_BACK, {"row_id": lease.mailbox_id, "epoch": lease.epoch})


def renew(connection: sa.Connection, lease: Lease, now: datetime) -> None:
    """Count one commit under the lease; the first statement of every commit.

    Raises ``LeaseLostError`` when another run has taken the mailbox over, which rolls the commit back.
    """
    taken = connection.execute(
        _COUNT_ONE,
        {"row_id": lease.mailbox_id, "epoch": lease.epoch, "done": lease.commits, "now": now},
    )
    if taken.rowcount != 1:
        raise _lost(lease)


def _must_be_mine(index: Index, lease: Lease) -> None:
    with index.read() as connection:
        found = connection.execute(
            sa.select(mailboxes.c.lease_epoch).where(mailboxes.c.id == lease.mailbox_id)
        )
        epoch = found.scalar_one()
    if epoch != lease.epoch:
        raise _lost(lease)


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"{lease.address}: another run took this mailbox over; nothing of this batch was kept",
        remedy="none needed: the other run goes on from the last commit",
    )


_COUNT_ONE = (
    sa.update(mailboxes)
    .where(
        mailboxes.c.id == sa.bindparam("row_id"),
        mailboxes.c.lease_epoch == sa.bindparam("epoch"),
        mailboxes.c.commits == sa.bindparam("done"),
    )
    .values(commits=mailboxes.c.commits + 1, lease_at=sa.bindparam("now"))
)


_LOCKED = sa.select(mailboxes).where(mailboxes.c.address == sa.bindparam("address")).with_for_update()
_ROW = sa.update(mailboxes).where(mailboxes.c.id == sa.bindparam("row_id"))
_TAKE = _ROW.values(
    lease_holder=sa.bindparam("holder"), lease_epoch=sa.bindparam("epoch"), lease_at=sa.bindparam("now")
)
_MINE = _ROW.where(mailboxes.c.lease_epoch == sa.bindparam("epoch"))
_BEAT = _MINE.values(lease_at=sa.bindparam("now"))
_GIVE_BACK = _MINE.values(lease_holder=sa.null())


def _acquire(index: Index, address: str, now: datetime) -> Lease:
    with index.write() as connection:
        row = connection.execute(_LOCKED, {"address": address}).one()
        holder = holder_of(row, now)
        if holder is not None:
            raise LeaseHeldError(f"{address}: being written by {holder}; skipped")
        lease = Lease(row.id, address, row.lease_epoch + 1, row.commits, row.adopted_epoch)
        _HELD.add(lease.token)
        holder_now = _this_process() | {"token": lease.token}
        connection.execute(_TAKE, {"row_id": row.id, "holder": holder_now, "epoch": lease.epoch, "now": now})
    return lease


def holder_of(row: sa.Row[Any], now: datetime) -> str | None:
    """Who is writing the mailbox of this row of ``mailboxes``, if that process lives."""
    holder = row.lease_holder
    if holder is None or not _alive(holder, row.lease_at, now):
        return None
    return f"process {holder['pid']} on {holder['host']}"


def _beat(index: Index, lease: Lease, clock: Clock, stopped: threading.Event) -> None:
    # A thread of its own: a long fetch or parse must not look like death.
    while not stopped.wait(HEARTBEAT_SECONDS):
        # A database that cannot be reached now may be there for the next beat; a commit tells by itself.
        with suppress(MailoverError), index.write() as connection:
            beat = {"row_id": lease.mailbox_id, "epoch": lease.epoch, "now": clock.now()}
            connection.execute(_BEAT, beat)


def _alive(holder: dict[str, Any], last_beat: datetime, now: datetime) -> bool:
    if holder["machine"] == _machine():
        if holder["pid"] == os.getpid():
            return holder.get("token") in _HELD
        started: str | None = holder["started"]
        return _started(holder["pid"]) == started
    return now - last_beat < SILENCE


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": platform.node(), "machine": _machine(), "pid": pid, "started": _started(pid)}


@cache
def _machine() -> str:
    """Within one such value a process number means one process: host, boot and pid namespace."""
    parts = [platform.node()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When a process started, so that a reused number is not taken for it; None if it is not running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, under another user
    if not Path("/proc/self/stat").exists():
        return "running"
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else fields[19]
