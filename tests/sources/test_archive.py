"""An archive as a source: ids that outlive moves and growth, and what is told of each message."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.clock import SystemClock
from pipelines.errors import UsageError
from pipelines.sources.archive import ArchiveSource
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, Page, Role

ONE = b"Subject: One\nDate: Sat, 1 Mar 2025 09:00:00 +0000\n\nFirst\n"
TWO = b"Subject: Two\nDate: Sun, 2 Mar 2025 09:00:00 +0000\n\nSecond\n"
SEPARATOR = b"From kim@contoso.com Mon Mar  3 09:00:00 2025\n"


def mbox(*messages: bytes) -> bytes:
    return b"".join(SEPARATOR + each + b"\n" for each in messages)


class Opener:
    """Opens archives and closes them after the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, *paths: Path) -> ArchiveSource:
        source = ArchiveSource(paths, SystemClock())
        self._stack.callback(source.close)
        return source


@pytest.fixture
def opened() -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(stack)


def entries(source: ArchiveSource, folder: Folder | None = None) -> list[Entry]:
    """Everything that is listed in a folder, or in the only one."""
    chosen = folder or source.folders()[0]
    return [entry for page in source.changes(chosen, None) for entry in page.entries]


def ids(source: ArchiveSource) -> set[str]:
    return {entry.native_id for entry in entries(source)}


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "Inbox.mbox"
    path.parent.mkdir()
    path.write_bytes(mbox(ONE, TWO))
    return path


def test_messages_are_listed_and_fetched_with_what_the_file_tells(box: Path, opened: Opener) -> None:
    source = opened(box)
    (folder,) = source.folders()
    assert folder == Folder("Inbox", Role.INBOX, "Inbox")
    (page,) = source.changes(folder, None)
    assert isinstance(page, Page)
    assert [entry.size for entry in page.entries] == [len(ONE), len(TWO)]
    fetched = list(source.fetch(folder, page.entries))
    assert [each.mime for each in fetched if isinstance(each, Fetched)] == [ONE, TWO]
    for each in fetched:
        assert each.entry.received_at == datetime(2025, 3, 3, 9, tzinfo=UTC)
        assert not each.entry.received_by_server
    assert (source.files_read, source.bytes_read) == (1, source.files.bytes - 2)


def test_ids_stay_when_the_archive_grows_moves_and_changes_its_form(
    box: Path, tmp_path: Path, opened: Opener
) -> None:
    before = ids(opened(box))
    box.write_bytes(mbox(TWO, ONE.replace(b"Subject", b"Status: RO\nSubject"), b"Subject: Three\n\n"))
    assert ids(opened(box)) > before
    single = tmp_path / "b" / "Inbox"
    single.mkdir(parents=True)
    (single / "1.eml").write_bytes(ONE)
    (single / "2.eml").write_bytes(TWO)
    assert ids(opened(single)) == before
    maildir = tmp_path / "c" / "cur"
    maildir.mkdir(parents=True)
    (maildir / "1:2,S").write_bytes(ONE)
    (maildir / "2:2,").write_bytes(TWO)
    assert ids(opened(maildir.parent)) == before


def test_copies_in_one_archive_are_counted_and_copies_in_another_are_the_same(
    box: Path, tmp_path: Path, opened: Opener
) -> None:
    box.write_bytes(mbox(ONE, TWO, ONE, ONE))
    one = entries(opened(box))[0].native_id
    assert {f"{one}:2", f"{one}:3"} < ids(opened(box))
    other = tmp_path / "b" / "Inbox.mbox"
    other.parent.mkdir()
    other.write_bytes(mbox(ONE, ONE))
    together = opened(box, other)
    assert ids(together) == ids(opened(box))
    (folder,) = together.folders()
    assert together.count(folder) == 4
    assert together.native_ids(folder) == ids(opened(box))


def test_counting_does_not_need_a_walk_and_a_second_walk_does_not_double(box: Path, opened: Opener) -> None:
    source = opened(box)
    (folder,) = source.folders()
    assert source.count(folder) == 2
    assert len(entries(source)) == len(entries(source)) == source.count(folder) == 2


def test_many_messages_come_in_pages_and_every_one_can_be_had_at_any_time(box: Path, opened: Opener) -> None:
    every = [b"Subject: %d\n\n" % number for number in range(1201)]
    box.write_bytes(mbox(*every))
    source = opened(box)
    (folder,) = source.folders()
    pages = [page.entries for page in source.changes(folder, "anything")]
    assert [len(page) for page in pages] == [500, 500, 201]
    wanted = [entry for page in reversed(pages) for entry in reversed(page)]
    fetched = [each.mime for each in source.fetch(folder, wanted) if isinstance(each, Fetched)]
    assert fetched == every[::-1]
    assert [len(page) for page in source.id_pages(folder)] == [500, 500, 201]


def test_flags_come_from_the_form_of_the_file(tmp_path: Path, opened: Opener) -> None:
    for name, content in {"Inbox": mbox(b"Status: RO\n" + ONE), "a.eml": b"X-Status: F\n" + TWO}.items():
        (tmp_path / name).write_bytes(content)
    source = opened(tmp_path)
    told = {folder.path: [each.flags for each in entries(source, folder)] for folder in source.folders()}
    assert told == {"Inbox": [("seen",)], tmp_path.name: [("flagged",)]}


def test_folders_have_the_roles_of_their_names(tmp_path: Path, opened: Opener) -> None:
    names = {
        "INBOX": "Inbox",
        "Sent": "Sent",
        "Trash": "Trash",
        "Drafts": "Drafts",
        "Deleted Items": "Deleted Items",
    }
    for name in (*names, "Projects"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.eml").write_bytes(ONE)
    roles = {folder.path: folder.role for folder in opened(tmp_path).folders()}
    assert roles == {
        "Inbox": Role.INBOX,
        "Sent": Role.SENT,
        "Trash": Role.TRASH,
        "Drafts": Role.DRAFTS,
        "Deleted Items": Role.TRASH,
        "Projects": Role.OTHER,
    }


def test_a_message_without_any_date_is_no_younger_than_its_file(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "a.eml").write_bytes(b"Subject: One\nDate: Sat, 1 Mar 2525 09:00:00 +0000\n\nText\n")
    os.utime(tmp_path / "a.eml", (1_000_000_000, 1_000_000_000))
    source = opened(tmp_path)
    (fetched,) = source.fetch(source.folders()[0], entries(source))
    assert fetched.entry.received_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def failed(source: ArchiveSource, listed: list[Entry]) -> list[FetchFailed]:
    outcomes = list(source.fetch(source.folders()[0], listed))
    assert all(isinstance(each, FetchFailed) for each in outcomes)
    return [each for each in outcomes if isinstance(each, FetchFailed)]


def test_failure_is_contained_a_message_that_is_changed_meanwhile_is_gone_and_named(
    box: Path, opened: Opener
) -> None:
    source = opened(box)
    listed = entries(source)
    box.write_bytes(b"x" * 10 + box.read_bytes())
    assert [(each.gone, each.detail) for each in failed(source, listed)] == [
        (True, "changed while it was imported: import it again")
    ] * 2
    assert source.files.unreadable == {str(box): "changed while it was imported: import it again"}
    assert source.count(source.folders()[0]) == 0


def test_failure_is_contained_a_file_that_vanishes_or_cannot_be_read_meanwhile(
    tmp_path: Path, opened: Opener
) -> None:
    (tmp_path / "a.eml").write_bytes(ONE)
    (tmp_path / "b.eml").write_bytes(TWO)
    source = opened(tmp_path)
    listed = sorted(entries(source), key=lambda entry: -(entry.size or 0))
    (tmp_path / "a.eml").unlink()
    (tmp_path / "b.eml").unlink()
    (tmp_path / "b.eml").mkdir()
    outcomes = {each.detail: each.gone for each in failed(source, listed)}
    assert outcomes == {"no such file or directory": True, "is a directory": False}
    assert source.count(source.folders()[0]) == 1


@pytest.mark.parametrize("native_id", ["0" * 64, "1:2", "nothing", "ab:x", ""])
def test_an_id_that_is_not_in_the_files_is_said_so(box: Path, opened: Opener, native_id: str) -> None:
    source = opened(box)
    entries(source)
    (answer,) = failed(source, [Entry(native_id)])
    assert (answer.reason, answer.gone) == ("not-in-files", False)


def test_an_archive_has_no_windows_and_no_headers_to_be_asked_for(box: Path, opened: Opener) -> None:
    source = opened(box)
    (folder,) = source.folders()
    now = datetime.now(UTC)
    with pytest.raises(UsageError, match="import it whole"):
        source.window(folder, now, now)
    listed = entries(source)
    assert source.identify(folder, listed) is listed


def test_bad_input_gets_a_clear_error_where_no_mail_is(tmp_path: Path) -> None:
    for name in ("a.pst", "b.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_bytes(b"!BDN")
    with pytest.raises(UsageError) as raised:
        ArchiveSource([tmp_path], SystemClock())
    said = str(raised.value)
    assert said.startswith(f"no mail in {tmp_path} ({tmp_path}/a.pst: an Outlook data file: convert it")
    assert "; and 1 more)" in said
    assert "name an mbox or .eml file" in said
