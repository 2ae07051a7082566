"""Backfills: what they bring, how they stop and go on, and what happens beside them."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from pipelines.errors import ConnectionLostError, UsageError
from pipelines.index.lease import hold
from pipelines.index.lookup import newest_rounds, row_of_mailbox
from pipelines.index.status import status
from pipelines.index.tables import backfills, folders, windows
from pipelines.ingest.advance import Advance
from pipelines.ingest.backfill import backfill
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.report import BackfillReport, MailboxReport, MonthReport, Outcome
from pipelines.ingest.span import Span
from pipelines.ingest.stages import Stage, run_stage
from pipelines.sources.base import Entry, FetchFailed
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelFolder, ModelWorkspace, VirtualClock, mail

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 5))
QUARTER = Span(JANUARY, APRIL)
SECOND = timedelta(seconds=1)


def fill(workspace: ModelWorkspace) -> ModelWorkspace:
    """Two messages a month from December to April in the Inbox, one a month in Archive."""
    server = workspace.servers[KIM]
    server.folders["Archive"] = ModelFolder()
    for month, start in enumerate([JANUARY - timedelta(days=31), JANUARY, FEBRUARY, MARCH, APRIL]):
        for number in range(2):
            server.inbox.deliver(mail(10 * month + number), start + timedelta(days=5, hours=number))
        server.folders["Archive"].deliver(mail(10 * month + 5), start + timedelta(days=9))
    return workspace


def run(workspace: ModelWorkspace, span: Span = QUARTER, **told: object) -> BackfillReport:
    return backfill(workspace, workspace.config.mailbox(KIM), span, **told)  # type: ignore[arg-type]


def ingest(workspace: ModelWorkspace) -> MailboxReport:
    (report,) = run_stage(workspace, Stage.RAW_MESSAGES, [workspace.config.mailbox(KIM)])
    return report


def of_quarter(workspace: ModelWorkspace) -> set[bytes]:
    return {
        each.mime
        for folder in workspace.servers[KIM].folders.values()
        for each in folder.messages.values()
        if JANUARY <= each.received_at < APRIL
    }


def assert_exact(workspace: ModelWorkspace, expected: set[bytes]) -> None:
    raw = [row["mime"] for row in rows(workspace, "raw")]
    assert sorted(raw) == sorted(expected)  # type: ignore[type-var]
    keys = [row["message_key"] for row in rows(workspace, "messages")]
    assert len(keys) == len(set(keys)) == len(expected)
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, KIM)
        assert result.passed, (check.__name__, result.summary)


def test_nothing_lost_every_message_of_the_span_is_stored_and_no_other(workspace: ModelWorkspace) -> None:
    report = run(fill(workspace))
    assert report.outcome is Outcome.DONE
    assert_exact(workspace, of_quarter(workspace))
    assert [(f"{each.span.since:%m}", each.total("stored")) for each in report.months] == [
        ("03", 3),
        ("02", 3),
        ("01", 3),
    ]
    assert (report.messages, report.total("listed"), report.total("stored")) == (9, 9, 9)


def test_nothing_lost_the_edges_are_exact(workspace: ModelWorkspace) -> None:
    moments = [JANUARY - SECOND, JANUARY, FEBRUARY - SECOND, FEBRUARY, APRIL - SECOND, APRIL]
    for number, moment in enumerate(moments):
        workspace.servers[KIM].inbox.deliver(mail(number), moment)
    run(workspace)
    assert {row["received_at"] for row in rows(workspace, "raw")} == set(moments[1:-1])


def test_newest_first(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    run(workspace)
    assert server.windows == [
        (path, month) for month in (MARCH, FEBRUARY, JANUARY) for path in ("Inbox", "Archive")
    ]
    assert server.fetched[:3] == [("Inbox", "1:8"), ("Inbox", "1:7"), ("Archive", "1:4")]


def test_a_backfill_leaves_the_cursor_of_live_ingestion_where_it_is(workspace: ModelWorkspace) -> None:
    run(fill(workspace))
    with workspace.index.read() as connection:
        assert set(connection.scalars(sa.select(folders.c.cursor))) == {None}
        assert list(newest_rounds(connection, row_of_mailbox(connection, KIM))) == []
    assert status(workspace.index, [KIM], workspace.clock.now())[0].last_pass is None


def test_nothing_twice_a_live_round_after_a_backfill_downloads_only_the_rest(
    workspace: ModelWorkspace,
) -> None:
    server = fill(workspace).servers[KIM]
    run(workspace)
    before = set(server.fetched)
    server.fetched.clear()
    report = ingest(workspace)
    assert report.outcome is Outcome.DONE
    assert not before & set(server.fetched)
    assert (report.total("known"), len(server.fetched)) == (9, 6)
    assert_exact(workspace, server.all_mime())


def test_nothing_twice_a_backfill_after_a_live_round_downloads_nothing(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    ingest(workspace)
    server.fetched.clear()
    report = run(workspace)
    assert server.fetched == []
    assert (report.messages, report.total("listed"), report.total("known")) == (0, 9, 9)
    assert_exact(workspace, server.all_mime())


def test_nothing_twice_what_is_known_under_other_ids_is_linked_not_downloaded(
    workspace: ModelWorkspace,
) -> None:
    server = fill(workspace).servers[KIM]
    run(workspace)
    server.fetched.clear()
    server.folders["Old Archive"] = server.folders.pop("Archive")
    report = run(workspace)
    assert server.fetched == []
    assert report.total("known") == 9
    assert_exact(workspace, of_quarter(workspace))


@pytest.mark.parametrize("before", [run, ingest])
def test_nothing_lost_an_edit_that_looks_like_what_was_read_is_downloaded(
    workspace: ModelWorkspace, before: Callable[[ModelWorkspace], MailboxReport]
) -> None:
    server = fill(workspace).servers[KIM]
    before(workspace)
    old = server.inbox.messages.pop(5)
    edited = old.mime.replace(b"are attached", b"ARE attached")
    server.inbox.deliver(edited, old.received_at)
    run(workspace)
    assert {old.mime, edited} < {row["mime"] for row in rows(workspace, "raw")}


def test_a_finished_backfill_that_is_asked_for_again_is_listed_anew(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    run(workspace)
    late = mail(99)
    server.folders["Archive"].deliver(late, FEBRUARY + timedelta(days=1))
    report = run(workspace)
    assert (report.messages, report.total("known")) == (1, 9)
    assert late in {row["mime"] for row in rows(workspace, "raw")}


def stop_in(workspace: ModelWorkspace, month: datetime) -> None:
    """Run until the first message of ``month`` is to be fetched; what is raised there is no fault."""
    server = workspace.servers[KIM]

    def stop(path: str, native_id: str) -> None:
        message = server.folders[path].messages[int(native_id.partition(":")[2])]
        if message.received_at < month + timedelta(days=28):
            raise KeyboardInterrupt

    server.before_fetch = stop
    with pytest.raises(KeyboardInterrupt):
        run(workspace)
    server.before_fetch = lambda _path, _native_id: None


def test_a_resumed_backfill_lists_no_month_again_that_was_read(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    stop_in(workspace, FEBRUARY)
    server.windows.clear()
    server.fetched.clear()
    report = run(workspace)
    assert {month for _, month in server.windows} == {FEBRUARY, JANUARY}
    assert len(server.fetched) == 6
    assert report.outcome is Outcome.DONE
    assert [month.total("stored") for month in report.months] == [3, 3, 3]
    assert report.messages == 6
    assert_exact(workspace, of_quarter(workspace))


def test_a_month_that_was_not_over_when_it_was_read_is_listed_again(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    today = Span(workspace.clock.now() - timedelta(days=60), workspace.clock.now() + timedelta(days=1))
    begun = today.months()[0]
    server.inbox.deliver(mail(80), begun.since + timedelta(hours=1))
    server.inbox.deliver(mail(81), today.since + timedelta(hours=1))
    old = f"1:{server.inbox.next_uid - 1}"

    def stop(_path: str, native_id: str) -> None:
        if native_id == old:
            raise KeyboardInterrupt

    server.before_fetch = stop
    with pytest.raises(KeyboardInterrupt):
        run(workspace, today)
    server.before_fetch = lambda _path, _native_id: None
    server.inbox.deliver(mail(82), workspace.clock.now() + timedelta(hours=1))
    workspace.clock.sleep(timedelta(days=2).total_seconds())
    run(workspace, today)
    assert len(rows(workspace, "messages")) == 3


def test_failure_is_contained_a_poison_message_is_quarantined_and_the_month_closed(
    workspace: ModelWorkspace,
) -> None:
    server = fill(workspace).servers[KIM]
    server.poison["1:5"] = FetchFailed(
        Entry("1:5"), "placeholder", "a placeholder", fallback=b"Retrieval failed"
    )
    report = run(workspace)
    assert report.outcome is Outcome.ATTENTION
    assert [month.total("quarantined") for month in report.months] == [0, 1, 0]
    assert report.total("stored") == 8
    assert all(account.closed_at for account in report.rounds)
    server.poison.clear()
    workspace.clock.sleep(301)
    ingest(workspace)
    assert_exact(workspace, server.all_mime())


def test_failure_is_contained_a_folder_that_fails_is_named_and_read_by_the_next_run(
    workspace: ModelWorkspace,
) -> None:
    server = fill(workspace).servers[KIM]

    def refuse(path: str, _native_id: str) -> None:
        if path == "Archive":
            raise ConnectionLostError("the server closed the connection")

    server.before_fetch = refuse
    report = run(workspace)
    assert report.outcome is Outcome.ATTENTION
    assert report.undone() == ["Archive in 2025-03 and 2 more months: the server closed the connection"]
    server.before_fetch = lambda _path, _native_id: None
    server.windows.clear()
    assert run(workspace).outcome is Outcome.DONE
    assert {path for path, _ in server.windows} == {"Archive"}
    assert_exact(workspace, of_quarter(workspace))


def test_a_mailbox_that_cannot_be_read_is_not_tried_for_every_month(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]

    def refuse(_path: str, _native_id: str) -> None:
        raise ConnectionLostError("the server closed the connection")

    server.before_fetch = refuse
    report = run(workspace)
    assert report.outcome is Outcome.FAILED
    assert report.undone() == ["the server closed the connection"]
    assert {month for _, month in server.windows} == {MARCH}


def test_a_protocol_that_knows_no_dates_says_so(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.ingest.model import ModelSource

    def no_window(*_given: object) -> None:
        raise UsageError("POP3 knows no dates")

    fill(workspace)
    monkeypatch.setattr(ModelSource, "window", no_window)
    report = run(workspace)
    assert report.outcome is Outcome.FAILED
    assert isinstance(report.error, UsageError)


def test_one_writer_a_backfill_waits_for_the_round_that_has_the_mailbox(workspace: ModelWorkspace) -> None:
    fill(workspace)
    seen: list[bool] = []
    with hold(workspace.index, KIM, workspace.clock):
        report = run(workspace, progress=lambda advance: seen.append(advance.waiting))
    assert report.outcome is Outcome.BUSY
    assert all(seen)
    assert 900 <= workspace.virtual_clock.passed < 910
    assert run(workspace).outcome is Outcome.DONE


def test_a_round_that_was_turned_away_is_made_as_soon_as_the_month_is_read(
    workspace: ModelWorkspace,
) -> None:
    server = fill(workspace).servers[KIM]
    outcomes: list[Outcome] = []

    def scheduled(_path: str, _native_id: str) -> None:
        if not outcomes:
            server.inbox.deliver(mail(70), workspace.clock.now())
            server.before_fetch = lambda _path, _native_id: None
            outcomes.append(ingest(workspace).outcome)

    server.before_fetch = scheduled
    at_month_ends: list[int] = []

    def month_done(month: MonthReport) -> None:
        at_month_ends.append(len(rows(workspace, "messages")))

    assert run(workspace, month_done=month_done).outcome is Outcome.DONE
    assert outcomes == [Outcome.BUSY]
    assert at_month_ends[0] == 3, "the month that was being read"
    assert at_month_ends[1] == 16, "the whole mailbox, the new message with it"
    assert_exact(workspace, server.all_mime())


class RealClock(VirtualClock):
    """Waits let other threads on."""

    def sleep(self, seconds: float) -> None:
        time.sleep(0.005)


@pytest.mark.parametrize("first", ["live", "backfill"])
def test_nothing_lost_nothing_twice_beside_live_ingestion(
    open_model: Callable[..., ModelWorkspace], first: str
) -> None:
    workspace = fill(open_model(RealClock())).commit_every(700)
    stop, passed = threading.Event(), threading.Event()

    def live() -> None:
        while not stop.wait(0.005):
            ingest(workspace)
            passed.set()

    beside = threading.Thread(target=live)
    beside.start()
    try:
        if first == "live":
            passed.wait(20)
        reports = [run(workspace, Span(JANUARY - timedelta(days=40 * more), APRIL)) for more in range(4)]
    finally:
        stop.set()
        beside.join()
    assert [each.outcome for each in reports] == [Outcome.DONE] * 4
    assert ingest(workspace).outcome is Outcome.DONE
    assert_exact(workspace, workspace.servers[KIM].all_mime())


def test_progress_tells_what_is_done_and_what_is_left(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    server.before_fetch = lambda _path, _native_id: workspace.clock.sleep(10)
    told: list[tuple[float, float | None, int, int]] = []

    def progress(advance: Advance) -> None:
        told.append((advance.share, advance.remaining, advance.accounted, advance.listed))

    run(workspace, progress=progress)
    shares = [share for share, *_ in told]
    assert shares == sorted(shares)
    assert told[-1] == (1.0, 0.0, 9, 9)
    share, remaining, _, listed = next(each for each in told if each[2] == 3)
    assert listed == 3
    assert share == pytest.approx(1 / 3)
    assert remaining == pytest.approx(60)


def test_a_rebuilt_index_forgets_what_backfills_have_read(workspace: ModelWorkspace) -> None:
    server = fill(workspace).servers[KIM]
    stop_in(workspace, FEBRUARY)
    list(run_stage(workspace, Stage.MESSAGE_INDEX, [workspace.config.mailbox(KIM)]))
    with workspace.index.read() as connection:
        for table in (backfills, windows):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    server.fetched.clear()
    assert run(workspace).outcome is Outcome.DONE
    assert len(server.fetched) == 6, "what the lake has is linked"
    assert_exact(workspace, of_quarter(workspace))
