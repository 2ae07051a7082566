"""One writer per mailbox, across threads, processes and machines."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.errors import LeaseHeldError, LeaseLostError
from pipelines.index.engine import Index
from pipelines.index.lease import hold, renew
from pipelines.index.mailboxes import add_mailboxes
from pipelines.index.tables import mailboxes
from tests.index_fixture import index_url
from tests.ingest.model import KIM, VirtualClock

pytestmark = pytest.mark.both_indexes
ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(index_url(tmp_path))
    add_mailboxes(opened, [(KIM, "legacy")])
    yield opened
    opened.close()


def test_one_writer_a_second_thread_is_refused(index: Index) -> None:
    clock = VirtualClock()
    refused = pytest.raises(LeaseHeldError, match=f"by process {os.getpid()} on")
    with hold(index, KIM, clock), refused, hold(index, KIM, clock):
        pass


def test_one_writer_of_many_threads_exactly_one_holds_at_a_time(index: Index) -> None:
    inside, worst, refused = 0, 0, 0
    guard, clock = threading.Lock(), VirtualClock()
    start = threading.Barrier(8)

    def work() -> None:
        nonlocal inside, worst, refused
        start.wait()
        for _ in range(10):
            try:
                with hold(index, KIM, clock):
                    with guard:
                        inside += 1
                        worst = max(worst, inside)
                    with guard:
                        inside -= 1
            except LeaseHeldError:
                with guard:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1
    assert refused > 0


def test_one_writer_a_dead_processs_lease_is_taken_over_at_once(index: Index, tmp_path: Path) -> None:
    holder = f"""
import os
from pipelines.clock import SystemClock
from pipelines.index.engine import Index
from pipelines.index.lease import hold
with hold(Index("{index_url(tmp_path)}"), "{KIM}", SystemClock()):
    os.kill(os.getpid(), 9)
"""
    dead = subprocess.run([sys.executable, "-c", holder], cwd=ROOT, check=False)
    assert dead.returncode == -9
    with index.read() as connection:
        assert connection.scalar(sa.select(mailboxes.c.lease_holder)) is not None
    with hold(index, KIM, VirtualClock()) as lease:
        assert lease.epoch == 2


def test_one_writer_a_lease_that_could_not_be_given_back_is_nobodys(index: Index) -> None:
    clock = VirtualClock()
    with index.read() as connection:
        row = connection.execute(sa.select(mailboxes)).one()
    with hold(index, KIM, clock), index.read() as connection:
        held = connection.execute(sa.select(mailboxes)).one()
    with index.write() as connection:
        connection.execute(sa.update(mailboxes).values(lease_holder=held.lease_holder))
    with hold(index, KIM, clock) as lease:
        assert lease.epoch == row.lease_epoch + 2


def as_if_from_elsewhere(index: Index) -> None:
    with index.write() as connection:
        holder = connection.scalar(sa.select(mailboxes.c.lease_holder))
        assert holder is not None
        connection.execute(
            sa.update(mailboxes).values(lease_holder={**holder, "machine": "elsewhere", "host": "worker-7"})
        )


def test_one_writer_a_holder_elsewhere_counts_as_dead_after_two_minutes_of_silence(index: Index) -> None:
    clock = VirtualClock()
    with hold(index, KIM, clock) as old:
        as_if_from_elsewhere(index)
        clock.sleep(119)
        with pytest.raises(LeaseHeldError, match="on worker-7"), hold(index, KIM, clock):
            pass
        clock.sleep(2)
        with hold(index, KIM, clock) as new:
            with pytest.raises(LeaseLostError), index.write() as connection:
                renew(connection, old, clock.now())
            with index.write() as connection:
                renew(connection, new, clock.now())


def test_a_commit_counts_once(index: Index) -> None:
    clock = VirtualClock()
    with hold(index, KIM, clock) as lease:
        with index.write() as connection:
            renew(connection, lease, clock.now())
        with pytest.raises(LeaseLostError), index.write() as connection:
            renew(connection, lease, clock.now() + timedelta(seconds=1))
