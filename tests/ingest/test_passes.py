"""Passes over mailboxes: what is read, stored, recognised and contained."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipelines.errors import ConnectionLostError
from pipelines.index.lease import hold
from pipelines.index.search import search
from pipelines.index.status import status
from pipelines.index.tables import folders, occurrences, quarantine, rounds
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.lake import Dataset
from pipelines.mime import normalise
from pipelines.sources.base import Entry, FetchFailed, Folder
from tests.ingest.conftest import rows
from tests.ingest.model import ALEX, KIM, ModelFolder, ModelSource, ModelWorkspace, mail

pytestmark = pytest.mark.both_indexes


def ingest(workspace: ModelWorkspace, address: str = KIM) -> MailboxReport:
    return ingest_mailbox(workspace, workspace.config.mailbox(address))


def fill(folder: ModelFolder, numbers: range) -> None:
    for number in numbers:
        folder.deliver(mail(number))


def test_nothing_lost_every_message_of_every_folder_is_stored(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(7))
    server.folders["Projekte/Köln"] = ModelFolder()
    fill(server.folders["Projekte/Köln"], range(100, 104))
    report = ingest(workspace)
    assert report.outcome is Outcome.DONE
    assert {row["mime"] for row in rows(workspace, "raw")} == server.all_mime()
    assert len(rows(workspace, "messages")) == 11
    assert [(each.path, each.listed, each.stored) for each in report.rounds] == [
        ("Inbox", 7, 7),
        ("Projekte/Köln", 4, 4),
    ]


def test_nothing_twice_a_second_pass_downloads_nothing(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(5))
    ingest(workspace)
    server.fetched.clear()
    report = ingest(workspace)
    assert server.fetched == []
    assert report.messages == 0
    assert len(rows(workspace, "messages")) == 5


def test_bounded_memory_a_message_that_fills_a_batch_does_not_join_another(workspace: ModelWorkspace) -> None:
    inbox = workspace.servers[KIM].inbox
    fill(inbox, range(4))
    inbox.deliver(mail(4, "x" * 20_000))
    ingest(workspace.commit_every(20_000))
    files = [workspace.lake.describe(Dataset.RAW, path) for path in workspace.lake.files(Dataset.RAW, KIM)]
    assert sorted(each.rows for each in files) == [1, 4]
    assert len(rows(workspace, "messages")) == 5


def test_a_second_pass_reads_only_what_is_new(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(4))
    ingest(workspace)
    server.fetched.clear()
    fill(server.inbox, range(4, 6))
    ingest(workspace)
    assert server.fetched == [("Inbox", "1:5"), ("Inbox", "1:6")]


def test_nothing_twice_one_message_in_two_folders_is_one_row_with_two_occurrences(
    workspace: ModelWorkspace,
) -> None:
    server = workspace.servers[KIM]
    server.folders["Archive"] = ModelFolder()
    server.inbox.deliver(mail(1))
    server.folders["Archive"].deliver(mail(1))
    ingest(workspace)
    (row,) = rows(workspace, "messages")
    assert row["folders"] == ["Inbox", "Archive"]
    assert len(rows(workspace, "raw")) == 1
    (hit,) = search(workspace.index, "figures", 10)
    assert hit.folders == ("Archive", "Inbox")


def test_two_contents_under_one_message_id_are_two_messages(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    server.inbox.deliver(mail(1, "Draft one."))
    server.inbox.deliver(mail(1, "Draft two."))
    ingest(workspace)
    assert sorted(str(row["text"]).strip() for row in rows(workspace, "messages")) == [
        "Draft one.",
        "Draft two.",
    ]


def test_bytes_are_kept_when_two_forms_of_one_message_arrive(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    folded = mail(1).replace(b"Subject: Report 1", b"Subject: Report\r\n 1")
    server.inbox.deliver(mail(1))
    server.inbox.deliver(folded)
    ingest(workspace)
    assert {row["mime"] for row in rows(workspace, "raw")} == {mail(1), folded}
    assert len(rows(workspace, "messages")) == 1
    with workspace.index.read() as connection:
        evidence = connection.scalars(sa.select(occurrences.c.evidence)).all()
    assert evidence == ["bytes", "key"]


def test_nothing_twice_after_a_new_uidvalidity_known_mail_is_linked_not_downloaded(
    workspace: ModelWorkspace,
) -> None:
    server = workspace.servers[KIM]
    for number in range(6):
        server.inbox.deliver(mail(number), received_at=workspace.clock.now() - timedelta(hours=number))
    ingest(workspace)
    server.fetched.clear()
    server.inbox.renumber()
    report = ingest(workspace)
    assert server.fetched == []
    assert (report.rounds[0].listed, report.rounds[0].known) == (6, 6)
    assert "listed from the beginning: UIDVALIDITY changed" in report.rounds[0].notes
    assert status(workspace.index, [KIM], workspace.clock.now())[0].occurrences == 6
    assert len(rows(workspace, "messages")) == 6


def test_nothing_lost_a_changed_message_behind_a_new_uidvalidity_is_downloaded(
    workspace: ModelWorkspace,
) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))
    ingest(workspace)
    server.inbox.messages[2].mime = mail(1, "Another body of another length.")
    server.inbox.renumber()
    ingest(workspace)
    assert len(rows(workspace, "messages")) == 4


def test_an_edited_draft_of_the_same_length_is_read_by_its_bytes(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    server.folders["Drafts"] = ModelFolder()
    drafts = server.folders["Drafts"]
    drafts.deliver(mail(1, "We pay 100 euros."))
    ingest(workspace)
    drafts.messages[1].mime = mail(1, "We pay 900 euros.")
    drafts.renumber()
    ingest(workspace)
    assert {str(row["text"]).strip() for row in rows(workspace, "messages")} == {
        "We pay 100 euros.",
        "We pay 900 euros.",
    }


def test_a_removal_at_the_source_ends_the_occurrence_and_keeps_the_data(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))
    ingest(workspace)
    del server.inbox.messages[2]
    report = ingest(workspace)
    assert report.rounds[0].notes == ["1 no longer listed"]
    assert len(rows(workspace, "messages")) == 3
    with workspace.index.read() as connection:
        removed = connection.scalars(
            sa.select(occurrences.c.native_id).where(occurrences.c.removed_at.is_not(None))
        ).all()
    assert removed == ["1:2"]


def test_a_message_that_comes_back_is_revived_without_a_download(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))
    ingest(workspace)
    hidden = server.inbox.messages.pop(2)
    ingest(workspace)
    server.inbox.messages[2] = hidden
    server.fetched.clear()
    report = ingest(workspace)
    assert report.rounds[0].notes == ["1 found by the id listing"]
    assert server.fetched == []
    assert status(workspace.index, [KIM], workspace.clock.now())[0].occurrences == 3


def test_a_renamed_folder_is_matched_not_downloaded(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    server.folders["Old"] = ModelFolder()
    fill(server.folders["Old"], range(5))
    ingest(workspace)
    server.fetched.clear()
    server.folders["New"] = server.folders.pop("Old")
    ingest(workspace)
    assert server.fetched == []
    (hit, *_) = search(workspace.index, "figures", 1)
    assert hit.folders == ("New",)


def test_failure_is_contained_a_poison_message_does_not_stop_its_folder(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(4))
    server.poison["1:2"] = FetchFailed(
        Entry("1:2"), "placeholder", "the server sent a placeholder", fallback=b"Retrieval failed"
    )
    report = ingest(workspace)
    assert report.outcome is Outcome.ATTENTION
    assert (report.rounds[0].stored, report.rounds[0].quarantined) == (3, 1)
    assert report.rounds[0].closed_at is not None
    assert mail(1) not in {row["mime"] for row in rows(workspace, "raw")}


def test_a_quarantined_message_is_tried_again_when_due_and_stored_once(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(2))
    server.poison["1:1"] = FetchFailed(Entry("1:1"), "empty-answer", "the server sent nothing")
    ingest(workspace)
    assert ingest(workspace).rounds[0].listed == 0
    workspace.clock.sleep(301)
    server.poison.clear()
    report = ingest(workspace)
    assert (report.rounds[0].listed, report.rounds[0].stored) == (1, 1)
    assert len(rows(workspace, "messages")) == 2
    with workspace.index.read() as connection:
        (entry,) = connection.execute(sa.select(quarantine)).all()
    assert (entry.state, entry.attempts) == ("resolved", 1)


def test_quarantine_backs_off_and_ends_when_the_message_is_gone(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(1))
    server.poison["1:1"] = FetchFailed(Entry("1:1"), "empty-answer", "the server sent nothing")
    ingest(workspace)
    workspace.clock.sleep(301)
    assert ingest(workspace).rounds[0].quarantined == 1
    workspace.clock.sleep(301)
    assert ingest(workspace).rounds[0].quarantined == 0, "the second wait is longer"
    server.inbox.messages.clear()
    ingest(workspace)
    with workspace.index.read() as connection:
        (entry,) = connection.execute(sa.select(quarantine)).all()
    assert (entry.state, entry.attempts) == ("gone", 2)


def test_failure_is_contained_bytes_the_normaliser_cannot_read_are_kept_and_counted(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))

    def fragile(mime: bytes) -> object:
        if b"<1@" in mime:
            raise RecursionError(mime.decode())
        return normalise(mime)

    monkeypatch.setattr("pipelines.mime.process.normalise", fragile)
    report = ingest(workspace)
    assert (report.rounds[0].stored, report.rounds[0].quarantined) == (2, 1)
    with workspace.index.read() as connection:
        (entry,) = connection.execute(sa.select(quarantine)).all()
    assert entry.detail == "the normaliser failed with RecursionError; its bytes are kept"
    kept = workspace.lake.read_fallback(KIM, entry.fallback_sha256)
    assert kept == mail(1)


def test_failure_is_contained_one_folder_does_not_stop_its_mailbox(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    server.folders["Broken"] = ModelFolder()
    server.folders["Zebra"] = ModelFolder()
    for folder in server.folders.values():
        fill(folder, range(2))

    def refuse(path: str, _native_id: str) -> None:
        if path == "Broken":
            raise ConnectionLostError("the server closed the connection")

    server.before_fetch = refuse
    report = ingest(workspace)
    assert report.outcome is Outcome.ATTENTION
    assert list(report.folder_errors) == ["Broken"]
    assert [each.closed_at is not None for each in report.rounds] == [True, False, True]
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert state.last_error == "Broken: the server closed the connection"
    assert state.last_pass is None


def test_failure_is_contained_one_mailbox_does_not_stop_the_run(workspace: ModelWorkspace) -> None:
    fill(workspace.servers[ALEX].inbox, range(2))

    def explode(_path: str, _native_id: str) -> None:
        raise ValueError("secret text of a message")

    fill(workspace.servers[KIM].inbox, range(1))
    workspace.servers[KIM].before_fetch = explode
    reports = {
        each.mailbox: each
        for each in run_stage(workspace, Stage.RAW_MESSAGES, list(workspace.config.mailboxes))
    }
    assert reports[ALEX].outcome is Outcome.DONE
    error = reports[KIM].folder_errors["Inbox"]
    assert error.message.startswith("unexpected ValueError in explode (test_passes.py:")
    assert "secret text" not in str(error)


def test_nothing_lost_a_lost_connection_keeps_what_came_and_goes_on_from_there(
    workspace: ModelWorkspace,
) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(8))
    workspace.commit_every(300)  # bytes: every second message

    def drop(_path: str, native_id: str) -> None:
        if native_id == "1:6":
            raise ConnectionLostError("reset")

    server.before_fetch = drop
    assert ingest(workspace).outcome is Outcome.ATTENTION
    server.before_fetch = lambda _path, _native_id: None
    server.fetched.clear()
    report = ingest(workspace)
    assert report.outcome is Outcome.DONE
    assert {row["mime"] for row in rows(workspace, "raw")} == server.all_mime()
    assert len(rows(workspace, "messages")) == 8
    assert server.fetched[0] == ("Inbox", "1:6")


def test_nothing_lost_a_source_that_skips_an_id_leaves_the_round_open(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))
    real = ModelSource.fetch
    monkeypatch.setattr(
        ModelSource, "fetch", lambda self, folder, entries: list(real(self, folder, entries))[:-1]
    )
    report = ingest(workspace)
    assert "1 messages were asked for and not answered" in report.folder_errors["Inbox"].message
    with workspace.index.read() as connection:
        assert connection.scalar(sa.select(folders.c.cursor)) is None
        assert connection.scalar(sa.select(rounds.c.closed_at)) is None
    monkeypatch.setattr(ModelSource, "fetch", real)
    assert ingest(workspace).outcome is Outcome.DONE
    assert {row["mime"] for row in rows(workspace, "raw")} == server.all_mime()


def test_one_writer_a_mailbox_that_another_run_holds_is_skipped_and_named(workspace: ModelWorkspace) -> None:
    fill(workspace.servers[KIM].inbox, range(1))
    with hold(workspace.index, KIM, workspace.clock):
        report = ingest(workspace)
    assert report.outcome is Outcome.BUSY
    assert report.error is not None
    assert report.error.message.startswith(f"{KIM}: being written by process ")
    assert ingest(workspace).outcome is Outcome.DONE


def test_a_message_that_vanishes_before_it_is_fetched_is_gone(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    fill(server.inbox, range(3))

    def vanish(_path: str, native_id: str) -> None:
        if native_id == "1:2":
            server.inbox.messages.pop(2, None)

    server.before_fetch = vanish
    report = ingest(workspace)
    assert (report.rounds[0].stored, report.rounds[0].gone) == (2, 1)
    assert report.rounds[0].closed_at is not None


def test_a_big_move_is_recognised_from_the_listing(workspace: ModelWorkspace) -> None:
    server = workspace.servers[KIM]
    server.page_size = 1000
    server.folders["Archive"] = ModelFolder()
    for number in range(250):
        server.inbox.deliver(mail(number))
    server.folders["Archive"].deliver(mail(900))
    ingest(workspace)
    server.fetched.clear()
    for message in server.inbox.messages.values():
        server.folders["Archive"].deliver(message.mime, message.received_at)
    server.inbox.messages.clear()
    ingest(workspace)
    assert server.fetched == []
    assert status(workspace.index, [KIM], workspace.clock.now())[0].occurrences == 251


def test_a_first_pass_asks_for_no_headers_since_nothing_can_be_known(
    workspace: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = ModelSource.identify

    def identify(self: ModelSource, folder: Folder, entries: Sequence[Entry]) -> Iterable[Entry]:
        asked.append(len(entries))
        return real(self, folder, entries)

    monkeypatch.setattr(ModelSource, "identify", identify)
    server = workspace.servers[KIM]
    server.page_size = 1000
    fill(server.inbox, range(250))
    ingest(workspace)
    assert asked == []
    server.inbox.renumber()
    ingest(workspace)
    assert asked == [250]
