"""Reading ahead of what is taken in: the same messages in the same order, whatever becomes of the process."""

import os
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import pytest

from pipelines.errors import ConnectionLostError
from pipelines.ingest.ahead import MOST_BYTES, with_records
from pipelines.ingest.passes import ingest_mailbox
from pipelines.mime.process import Made, MimeProcess, MimeProcesses, make_record
from pipelines.sources.base import Entry, Fetched, FetchFailed
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelWorkspace, mail

MANY = 1_200
LARGE = b"Subject: large\r\n\r\n" + b"x" * 600_000

Fetches = Fetched | FetchFailed


def has_started(process: MimeProcess) -> bool:
    """Whether it has within a minute."""
    for _ in range(6_000):
        if process.has_started:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def processes() -> Iterator[MimeProcesses]:
    """With one that has started."""
    some = MimeProcesses(1)
    with some.borrowed(MANY) as process:
        assert process
        assert has_started(process)
    yield some
    some.close()


def fetches() -> list[Fetches]:
    """Messages, a large one among them, and what could not be had."""
    found: list[Fetches] = [Fetched(Entry(str(each)), mail(each)) for each in range(MANY)]
    found[700] = Fetched(Entry("700"), LARGE)
    found[800] = FetchFailed(Entry("800"), "empty-answer", "nothing came")
    return found


def mime_of(each: Fetches) -> bytes | None:
    return each.mime if isinstance(each, Fetched) else None


def ahead(
    some: Iterable[Fetches], processes: MimeProcesses
) -> Generator[tuple[Fetches, Made | None], None, None]:
    return with_records(some, mime_of, MANY, processes)


def as_made_here(some: Iterable[Fetches]) -> list[tuple[Fetches, Made | None]]:
    return [(each, make_record(each.mime) if isinstance(each, Fetched) else None) for each in some]


def test_everything_comes_in_its_order_with_its_record(processes: MimeProcesses) -> None:
    assert list(ahead(fetches(), processes)) == as_made_here(fetches())


def test_what_comes_before_the_other_process_has_started_gets_its_record_here() -> None:
    some = MimeProcesses(1)
    with some.borrowed(MANY) as process:
        assert process
        os.kill(process.pid, signal.SIGSTOP)
    # Should it be waited for, it comes back, late.
    late = threading.Timer(10, os.kill, (process.pid, signal.SIGCONT))
    late.start()
    assert list(ahead(fetches(), some)) == as_made_here(fetches())
    assert not process.has_started
    late.cancel()
    some.close()


def test_nothing_lost_of_what_came_before_the_connection_was_lost(processes: MimeProcesses) -> None:
    def breaking() -> Iterator[Fetches]:
        yield from fetches()[:930]
        raise ConnectionLostError("the connection is lost")

    came = ahead(breaking(), processes)
    assert [next(came) for _ in range(930)] == as_made_here(fetches()[:930])
    with pytest.raises(ConnectionLostError):
        next(came)


@pytest.mark.parametrize("at", [0, 1, 60, 1_000])
def test_nothing_lost_when_the_other_process_dies(processes: MimeProcesses, at: int) -> None:
    def killing() -> Iterator[Fetches]:
        for number, each in enumerate(fetches()):
            if number == at:
                os.kill(pid, signal.SIGKILL)
            yield each

    with processes.borrowed(MANY) as process:
        assert process
        pid = process.pid
    assert list(ahead(killing(), processes)) == as_made_here(fetches())
    assert list(ahead(fetches(), processes)) == as_made_here(fetches())


def test_bounded_memory_no_more_than_a_few_megabytes_wait(processes: MimeProcesses) -> None:
    pulled = 0

    def counted() -> Iterator[Fetches]:
        nonlocal pulled
        for number in range(400):
            mime = mail(number, "x" * 100_000)
            pulled += len(mime)
            yield Fetched(Entry(str(number)), mime)

    most = taken = 0
    for each, _made in ahead(counted(), processes):
        most = max(most, pulled - taken)
        taken += len(mime_of(each) or b"")
    assert MOST_BYTES < most < MOST_BYTES + 2_000_000


def test_a_reader_that_stops_leaves_no_process_in_the_middle(processes: MimeProcesses) -> None:
    with closing(ahead(fetches(), processes)) as outcomes:
        next(outcomes)
    assert list(ahead(fetches(), processes)) == as_made_here(fetches())


@pytest.mark.parametrize("dies_at", [None, 300])
def test_nothing_lost_nothing_twice_with_another_process(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch, dies_at: int | None
) -> None:
    started: list[MimeProcess] = []
    start = MimeProcess.__init__

    def remembered(process: MimeProcess) -> None:
        start(process)
        assert has_started(process)
        started.append(process)

    def before_fetch(_path: str, native_id: str) -> None:
        if dies_at and native_id == f"1:{dies_at}":
            os.kill(started[0].pid, signal.SIGKILL)

    monkeypatch.setattr(MimeProcess, "__init__", remembered)
    workspace.mime = MimeProcesses(1)
    server = workspace.servers[KIM]
    server.page_size, server.before_fetch = MANY, before_fetch
    for each in range(MANY):
        server.inbox.deliver(mail(each))
    report = ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    assert report.rounds[0].stored == MANY, report.error
    assert len(started) == 1
    assert {row["mime"] for row in rows(workspace, "raw")} == set(map(mail, range(MANY)))
    assert len(rows(workspace, "raw")) == len(rows(workspace, "messages")) == MANY
    assert len({row["message_key"] for row in rows(workspace, "messages")}) == MANY
    assert len(server.fetched) == MANY
