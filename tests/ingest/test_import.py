"""Importing mail files: once each, beside what servers deliver, and never in place of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.errors import UsageError
from pipelines.index.lease import hold
from pipelines.index.status import status
from pipelines.index.tables import mailboxes
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.importing import ImportReport, Position, import_mail
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.ingest.verify import verify
from pipelines.ingest.workspace import Workspace
from pipelines.sources.archive import ArchiveSource
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelWorkspace, VirtualClock, configure, mail
from tests.tenant_model import TenantWorkspace, model_tenant

SEPARATOR = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"


def unix(mime: bytes) -> bytes:
    """As an mbox keeps it."""
    return mime.replace(b"\r\n", b"\n")


def write_box(path: Path, *messages: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(SEPARATOR + each + b"\n" for each in messages))
    return path


def run(workspace: Workspace, *paths: Path) -> ImportReport:
    return import_mail(workspace, workspace.config.mailbox(KIM), paths)


def done(workspace: Workspace, *paths: Path) -> tuple[int, int, int]:
    """Import, with nothing to complain of: how many messages were new, taken in, and known."""
    report = run(workspace, *paths)
    assert (report.outcome, report.error, report.folder_errors) == (Outcome.DONE, None, {})
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, KIM)
        assert result.passed, (check.__name__, result.summary)
    return report.messages, report.total("stored"), report.total("known")


def ingest(workspace: Workspace) -> int:
    """Read the server; the number of new messages."""
    report = ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    assert report.outcome is Outcome.DONE, report.error
    return report.messages


def in_folders(workspace: ModelWorkspace) -> int:
    """How many occurrences live."""
    (kim,) = status(workspace.index, [KIM], workspace.clock.now())
    return kim.occurrences


EVERY = [unix(mail(number)) for number in range(6)]


def test_bytes_are_kept_as_the_file_holds_them(workspace: ModelWorkspace, tmp_path: Path) -> None:
    quoted = unix(mail(7, "Hello\nFrom here on"))
    state = b"Status: RO\nX-Status: F\n" + quoted
    box = write_box(tmp_path / "Old.mbox", state.replace(b"\nFrom here", b"\n>From here"))
    assert done(workspace, box) == (1, 1, 0)
    (raw,) = rows(workspace, "raw")
    assert (raw["mime"], raw["protocol"], raw["folder"]) == (state, "archive", "Old")
    assert raw["received_at"] == datetime(2025, 3, 1, 9, tzinfo=UTC)
    assert raw["received_by_server"] is False
    (message,) = rows(workspace, "messages")
    assert (message["flags"], message["folders"]) == (["seen", "flagged"], ["Old"])
    assert message["text"] == "Hello\nFrom here on\n"
    assert message["year"] == 2025


def test_nothing_twice_the_same_files_again(workspace: ModelWorkspace, tmp_path: Path) -> None:
    box = write_box(tmp_path / "Old.mbox", *EVERY)
    assert done(workspace, box) == (6, 6, 0)
    before = rows(workspace, "messages"), rows(workspace, "raw"), in_folders(workspace)
    assert done(workspace, box) == (0, 0, 6)
    elsewhere = tmp_path / "moved" / "Old"
    elsewhere.parent.mkdir()
    box.rename(elsewhere)
    assert done(workspace, elsewhere) == (0, 0, 6)
    assert (rows(workspace, "messages"), rows(workspace, "raw"), in_folders(workspace)) == before


def test_nothing_twice_of_an_archive_that_grows_is_read_and_flagged(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    box = write_box(tmp_path / "Old.mbox", *EVERY[:4])
    done(workspace, box)
    write_box(box, *(b"X-Mozilla-Status: 0001\n" + each for each in EVERY))
    assert done(workspace, box) == (2, 2, 4)


def test_a_removal_never_deletes_nor_does_another_archive_end_the_first(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    done(
        workspace,
        write_box(tmp_path / "a" / "Inbox", *EVERY[:4]),
        write_box(tmp_path / "a" / "Sent", EVERY[4]),
    )
    assert in_folders(workspace) == 5
    # Its Inbox is another, partly the same; it has no Sent.
    assert done(workspace, write_box(tmp_path / "b" / "Inbox", *EVERY[3:])) == (1, 2, 1)
    assert in_folders(workspace) == 7
    # And the first, from which mail was removed since.
    assert done(workspace, write_box(tmp_path / "a" / "Inbox", EVERY[0])) == (0, 0, 1)
    assert in_folders(workspace) == 7


def test_copies_in_one_folder_are_one_row_and_as_many_occurrences(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    box = write_box(tmp_path / "Old", EVERY[0], EVERY[1], EVERY[0])
    assert done(workspace, box) == (2, 3, 0)
    assert (len(rows(workspace, "messages")), in_folders(workspace)) == (2, 3)
    assert done(workspace, box) == (0, 0, 3)


def test_nothing_twice_of_what_a_server_delivered(workspace: ModelWorkspace, tmp_path: Path) -> None:
    for number in range(6):
        workspace.servers[KIM].inbox.deliver(mail(number))
    assert ingest(workspace) == 6
    assert done(workspace, write_box(tmp_path / "Inbox", *EVERY)) == (0, 6, 0)
    assert len(rows(workspace, "messages")) == 6
    # The files have other line ends: both bytes are kept.
    assert len(rows(workspace, "raw")) == 12


def test_nothing_twice_of_what_a_server_delivers_later(workspace: ModelWorkspace, tmp_path: Path) -> None:
    assert done(workspace, write_box(tmp_path / "Inbox", *EVERY)) == (6, 6, 0)
    for number in range(6):
        workspace.servers[KIM].inbox.deliver(mail(number))
    assert ingest(workspace) == 0
    assert len(rows(workspace, "messages")) == 6
    assert in_folders(workspace) == 12


def test_nothing_lost_a_copy_in_a_file_never_stands_for_what_the_server_has(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    # A mail program has taken the attachment out of the copy; its headers are the same.
    whole, stripped = mail(1, "With attachment.\r\n" * 40), mail(1, "The attachment was removed.")
    done(workspace, write_box(tmp_path / "Inbox", unix(stripped)))
    for number in range(300):
        workspace.servers[KIM].inbox.deliver(whole if number == 1 else mail(number))
    workspace.servers[KIM].page_size = 300
    ingest(workspace)
    assert whole in {row["mime"] for row in rows(workspace, "raw")}


def test_nothing_lost_of_an_edit_although_files_were_imported_since(tmp_path: Path) -> None:
    clock = VirtualClock()
    model = model_tenant(tmp_path / "tenant", clock, KIM)
    delivered = model.store.deliver(KIM, "Inbox", mail(1), clock.now())
    with TenantWorkspace(configure(tmp_path, KIM), model, clock) as workspace:
        assert ingest(workspace) == 1
        clock.sleep(3600)
        model.store.edit(KIM, "Inbox", delivered.uid, mail(1, "Edited."))
        clock.sleep(3600)
        assert run(workspace, write_box(tmp_path / "Inbox", unix(mail(1)))).outcome is Outcome.DONE
        clock.sleep(3600)
        with workspace.index.write() as connection:
            connection.execute(sa.update(mailboxes).values(phase="graph"))
        ingest(workspace)
        assert any(b"Edited." in row["mime"] for row in rows(workspace, "raw"))  # type: ignore[operator]
    model.store.close()


def test_one_writer_an_import_waits_for_nobody(workspace: ModelWorkspace, tmp_path: Path) -> None:
    box = write_box(tmp_path / "Old", *EVERY)
    with hold(workspace.index, KIM, workspace.clock):
        report = run(workspace, box)
    assert report.outcome is Outcome.BUSY
    assert rows(workspace, "raw") == []
    assert done(workspace, box) == (6, 6, 0)


def test_failure_is_contained_files_that_cannot_be_read_are_named(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    write_box(tmp_path / "mail" / "Old", *EVERY)
    (tmp_path / "mail" / "cut.emlx").write_bytes(b"100\nSubject: cut\n")
    (tmp_path / "mail" / "note.txt").write_bytes(b"no mail")
    report = run(workspace, tmp_path / "mail")
    assert report.outcome is Outcome.ATTENTION
    assert report.messages == 6
    said = report.to_json()
    assert said["mail_files"] == 1
    assert said["passed_over"] == {str(tmp_path / "mail" / "note.txt"): "no mail"}
    assert list(said["unreadable"]) == [str(tmp_path / "mail" / "cut.emlx")]


def test_failure_is_contained_one_folder_does_not_stop_the_import(
    workspace: ModelWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write_box(tmp_path / "mail" / name, EVERY[0])
    changes = ArchiveSource.changes

    def failing(source: ArchiveSource, folder: object, cursor: None) -> object:
        if getattr(folder, "path", None) == "b":
            raise MemoryError
        return changes(source, folder, cursor)  # type: ignore[arg-type]

    monkeypatch.setattr(ArchiveSource, "changes", failing)
    report = run(workspace, tmp_path / "mail")
    assert report.outcome is Outcome.ATTENTION
    assert list(report.folder_errors) == ["b"]
    assert report.total("stored") == 2


def test_an_import_is_no_round_of_the_server(workspace: ModelWorkspace, tmp_path: Path) -> None:
    workspace.servers[KIM].inbox.deliver(mail(1))
    done(workspace, write_box(tmp_path / "Sent", *EVERY))
    (kim,) = status(workspace.index, [KIM], workspace.clock.now())
    assert kim.last_pass is None
    ingest(workspace)
    assert in_folders(workspace) == 7


def test_the_index_of_imported_mail_can_be_rebuilt(workspace: ModelWorkspace, tmp_path: Path) -> None:
    box = write_box(tmp_path / "Old", *EVERY)
    done(workspace, box)
    (lost, *_) = sorted((tmp_path / "lake" / "messages").rglob("*.parquet"))
    lost.unlink()
    assert verify(workspace, KIM).repaired
    assert done(workspace, box) == (0, 0, 6)
    assert len(rows(workspace, "messages")) == 6


def test_the_folder_rules_of_the_configuration_are_about_the_server(
    open_model: Callable[..., ModelWorkspace], tmp_path: Path
) -> None:
    workspace = open_model()
    mailbox = workspace.config.mailbox(KIM)
    excluding = mailbox.model_copy(
        update={"folders": mailbox.folders.model_copy(update={"exclude": ("Old",)})}
    )
    report = import_mail(workspace, excluding, [write_box(tmp_path / "Old", *EVERY)])
    assert report.messages == 6


def test_progress_says_how_far_the_import_has_come(workspace: ModelWorkspace, tmp_path: Path) -> None:
    write_box(tmp_path / "mail" / "a", *EVERY)
    write_box(tmp_path / "mail" / "b", *EVERY)
    seen: list[Position] = []
    import_mail(workspace, workspace.config.mailbox(KIM), [tmp_path / "mail"], seen.append)
    assert [each.messages for each in seen] == sorted(each.messages for each in seen)
    size = sum(each.stat().st_size for each in (tmp_path / "mail").iterdir())
    assert replace(seen[-1], bytes=0) == Position("b", 2, 12, 0, size)
    assert seen[-1].bytes == size - 12  # without the empty lines between messages


def test_bad_input_gets_a_clear_error_and_nothing_is_written(
    workspace: ModelWorkspace, tmp_path: Path
) -> None:
    box = write_box(tmp_path / "Old", *EVERY)
    with pytest.raises(UsageError, match="is not there"):
        run(workspace, box, tmp_path / "nothing")
    assert rows(workspace, "raw") == []


@pytest.mark.corpus
def test_nothing_lost_nothing_twice_of_real_mboxes(
    workspace: ModelWorkspace, tmp_path: Path, corpus_dir: Path
) -> None:
    boxes = sorted(corpus_dir.rglob("*.mbox"))
    new, stored, known = done(workspace, *boxes)
    assert (stored, known) == (2380, 0)
    assert new == len(rows(workspace, "messages"))
    assert done(workspace, *reversed(boxes)) == (0, 0, 2380)
