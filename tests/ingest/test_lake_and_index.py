"""Lake and index, when one of them is lost, old, foreign or damaged."""

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipelines.errors import LakeMismatchError
from pipelines.index.search import search
from pipelines.index.status import status
from pipelines.index.tables import messages
from pipelines.ingest import compaction
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.verify import verify
from pipelines.lake import Dataset, tiers
from pipelines.mime import NORMALISER_VERSION, normalise
from tests.index_fixture import copy_index, lose_index
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelFolder, ModelMailbox, ModelWorkspace, VirtualClock, configure, mail
from tests.simulation.ahead import ReadingAhead

pytestmark = pytest.mark.both_indexes

Opener = Callable[[], ModelWorkspace]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Opener]:
    """Kim's mailbox with five messages and one copy; opened again over whatever lies in the folder."""
    server = ModelMailbox()
    server.folders["Projects"] = ModelFolder()
    for number in range(5):
        server.inbox.deliver(mail(number))
    server.folders["Projects"].deliver(mail(0))
    server.folders["Projects"].deliver(mail(50))

    opened: list[ModelWorkspace] = []

    def opener() -> ModelWorkspace:
        opened.append(ModelWorkspace(configure(tmp_path, KIM), {KIM: server}, VirtualClock()))
        return opened[-1]

    yield opener
    for workspace in opened:
        workspace.close()


def ingest(workspace: ModelWorkspace) -> MailboxReport:
    return ingest_mailbox(workspace, workspace.config.mailbox(KIM))


def data_file(workspace: ModelWorkspace, dataset: Dataset) -> Path:
    return Path(workspace.lake.root) / min(workspace.lake.files(dataset, KIM))


def test_nothing_lost_an_empty_index_over_a_full_lake_stops_ingestion(tmp_path: Path, reopen: Opener) -> None:
    ingest(reopen())
    before = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet")}
    lose_index(tmp_path)
    report = ingest(reopen())
    assert report.outcome is Outcome.FAILED
    assert isinstance(report.error, LakeMismatchError)
    assert "mailover verify" in str(report.error)
    assert {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet")} == before


def test_bytes_are_kept_a_lost_index_is_rebuilt_from_the_lake_alone(tmp_path: Path, reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    hits = search(workspace.index, "figures", 100)
    lose_index(tmp_path)
    workspace = reopen()
    found = verify(workspace, KIM)
    assert found.damage == []
    assert len(found.repaired) == 1
    rebuilt = search(workspace.index, "figures", 100)
    assert [dataclasses.replace(each, folders=()) for each in rebuilt] == [
        dataclasses.replace(each, folders=()) for each in hits
    ]
    assert verify(workspace, KIM).repaired == [], "once is enough"


def test_nothing_twice_after_a_rebuild_the_next_pass_downloads_nothing(
    tmp_path: Path, reopen: Opener
) -> None:
    ingest(reopen())
    lose_index(tmp_path)
    workspace = reopen()
    verify(workspace, KIM)
    server = workspace.servers[KIM]
    server.fetched.clear()
    assert ingest(workspace).outcome is Outcome.DONE
    assert server.fetched == []
    assert len(rows(workspace, "messages")) == 6
    assert status(workspace.index, [KIM], workspace.clock.now())[0].occurrences == 7


def test_nothing_lost_an_older_copy_of_the_index_stops_ingestion(tmp_path: Path, reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    workspace.close()
    restore = copy_index(tmp_path)
    workspace = reopen()
    workspace.servers[KIM].inbox.deliver(mail(77))
    ingest(workspace)
    workspace.close()
    restore()
    workspace = reopen()
    report = ingest(workspace)
    assert isinstance(report.error, LakeMismatchError)
    verify(workspace, KIM)
    assert ingest(workspace).outcome is Outcome.DONE
    assert {row["mime"] for row in rows(workspace, "raw")} == workspace.servers[KIM].all_mime()
    assert len(rows(workspace, "messages")) == 7


def test_a_lost_messages_file_is_written_anew_from_raw(reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    before = {row["message_key"] for row in rows(workspace, "messages")}
    data_file(workspace, Dataset.MESSAGES).unlink()
    assert isinstance(ingest(workspace).error, LakeMismatchError)
    found = verify(workspace, KIM)
    assert found.damage == []
    assert {row["message_key"] for row in rows(workspace, "messages")} == before
    assert ingest(workspace).outcome is Outcome.DONE


def test_an_unreadable_messages_file_is_written_anew_from_raw(reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    before = {row["message_key"] for row in rows(workspace, "messages")}
    data_file(workspace, Dataset.MESSAGES).write_bytes(b"PAR1 no more")
    assert verify(workspace, KIM).damage == []
    assert {row["message_key"] for row in rows(workspace, "messages")} == before


def test_bytes_are_kept_altered_bytes_are_named_as_damage(reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    path = data_file(workspace, Dataset.RAW)
    table = pq.read_table(path)
    column = table.schema.get_field_index("mime")
    altered = [value.replace(b"figures", b"numbers") for value in table.column(column).to_pylist()]
    replaced = pa.array(altered, table.schema.field(column).type)
    pq.write_table(table.set_column(column, table.schema.field(column), replaced), path)
    found = verify(workspace, KIM)
    assert len(found.damage) == table.num_rows
    assert all("have changed" in line for line in found.damage)


def test_bytes_are_kept_lost_bytes_are_named_as_damage(reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    data_file(workspace, Dataset.RAW).unlink()
    found = verify(workspace, KIM)
    assert found.damage
    assert found.damage[0].startswith("6 messages have lost their bytes")


def test_bytes_are_kept_a_newer_normaliser_reads_the_lake_never_the_server(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    ingest(workspace)
    server = workspace.servers[KIM]
    server.fetched.clear()

    def newer(mime: bytes) -> object:
        record = normalise(mime)
        return record._replace(subject=record.subject.upper(), message_key="f" + record.message_key[1:])

    monkeypatch.setattr("pipelines.mime.process.normalise", newer)
    (report,) = run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes))
    assert report.messages == 6
    assert {row["subject"] for row in rows(workspace, "messages")} >= {"REPORT 1", "REPORT 50"}
    assert all(str(row["message_key"]).startswith("f") for row in rows(workspace, "messages"))
    (hit,) = search(workspace.index, "subject:50", 10)
    assert (hit.subject, hit.folders) == ("REPORT 50", ("Projects",))
    assert ingest(workspace).messages == 0
    assert server.fetched == []
    assert verify(workspace, KIM).repaired == []


def test_words_that_are_the_same_again_are_not_indexed_again(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    ingest(workspace)

    def text_ids() -> dict[str, int]:
        with workspace.index.read() as connection:
            found = connection.execute(sa.select(messages.c.subject, messages.c.text_id))
            return {subject.lower(): text_id for subject, text_id in found}

    def newer(mime: bytes) -> object:
        record = normalise(mime)
        return record._replace(subject="Figures") if record.subject == "Report 50" else record

    before = text_ids()
    list(run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes)))
    assert text_ids() == before
    monkeypatch.setattr("pipelines.mime.process.normalise", newer)
    list(run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes)))
    after = text_ids()
    assert after.pop("figures") not in before.values()
    assert after == {subject: text_id for subject, text_id in before.items() if subject != "report 50"}
    assert [hit.subject for hit in search(workspace.index, "subject:figures", 10)] == ["Figures"]
    assert search(workspace.index, "subject:50", 10) == []
    assert len(search(workspace.index, "subject:report", 10)) == 5


def test_nothing_twice_rows_of_an_older_normaliser_are_brought_up_before_new_mail(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    server = workspace.servers[KIM]

    def older(mime: bytes) -> object:
        record = normalise(mime)
        return record._replace(message_key="0" + record.message_key[1:])

    with monkeypatch.context() as back_then:
        back_then.setattr("pipelines.mime.process.normalise", older)
        ingest(workspace)
    with workspace.index.write() as connection:
        connection.execute(sa.update(messages).values(normaliser_version=NORMALISER_VERSION - 1))
    server.fetched.clear()
    server.inbox.deliver(mail(3).replace(b"Subject: Report 3", b"Subject: Report\r\n 3"))
    assert ingest(workspace).messages == 0
    assert len(server.fetched) == 1
    assert [row["message_key"] for row in rows(workspace, "messages") if row["subject"] == "Report 3"] == [
        normalise(mail(3)).message_key
    ]
    assert verify(workspace, KIM).repaired == []


def test_nothing_twice_a_rebuild_takes_no_file_that_was_replaced_and_not_yet_deleted(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    ingest(workspace)

    def newer(mime: bytes) -> object:
        record = normalise(mime)
        return record._replace(subject=record.subject.upper(), message_key="f" + record.message_key[1:])

    def die(*_anything: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("pipelines.mime.process.normalise", newer)
        dying.setattr("pipelines.ingest.renormalise.sweep_retired", die)
        with pytest.raises(KeyboardInterrupt):
            list(run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes)))
    assert len(rows(workspace, "messages")) == 12
    (report,) = run_stage(workspace, Stage.MESSAGE_INDEX, list(workspace.config.mailboxes))
    assert report.messages == 6
    assert {str(row["subject"]) for row in rows(workspace, "messages")} == {
        f"REPORT {number}" for number in (0, 1, 2, 3, 4, 50)
    }
    assert verify(workspace, KIM).repaired == []


def test_an_idle_pass_tells_the_lake_once_and_an_older_index_is_still_known_by_it(
    tmp_path: Path, reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    ingest(workspace)
    workspace.close()
    restore = copy_index(tmp_path)
    workspace = reopen()
    told: list[object] = []
    write = workspace.lake.write_control

    def note(name: str, value: object) -> None:
        told.append(value)
        write(name, value)

    monkeypatch.setattr(workspace.lake, "write_control", note)
    assert ingest(workspace).outcome is Outcome.DONE
    assert len(told) == 1
    workspace.close()
    restore()
    assert isinstance(ingest(reopen()).error, LakeMismatchError)


def test_bytes_are_kept_nothing_is_swept_from_a_lake_that_is_older_than_its_index(
    tmp_path: Path, reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was replaced may be all that a lake restored from a copy has."""
    workspace = reopen().commit_every(1)
    ingest(workspace)
    workspace.commit_every(1_000_000)
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")

    def die(*_anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tiers, "FAN_IN", 2)
    monkeypatch.setattr(compaction, "sweep_retired", die)
    with pytest.raises(KeyboardInterrupt):
        compaction.compact(workspace, KIM)
    shutil.rmtree(tmp_path / "lake")
    (tmp_path / "copy").rename(tmp_path / "lake")
    assert isinstance(ingest(workspace).error, LakeMismatchError)
    assert verify(workspace, KIM).damage == []
    assert {row["mime"] for row in rows(workspace, "raw")} == workspace.servers[KIM].all_mime()
    assert ingest(workspace).outcome is Outcome.DONE


@pytest.mark.parametrize("ahead", [False, True])
def test_bytes_are_kept_that_come_to_a_file_while_it_is_read_ahead(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The first file's message turns out to be one of a later file."""
    workspace = reopen().commit_every(1)
    ingest(workspace)
    if ahead:
        workspace.mime = ReadingAhead()
    later = normalise(mail(4)).message_key

    def newer(mime: bytes) -> object:
        record = normalise(mime)
        return record._replace(message_key=later) if mime == mail(1) else record

    monkeypatch.setattr("pipelines.mime.process.normalise", newer)
    monkeypatch.setattr("pipelines.ingest.rebuild.normalise", newer)
    (report,) = run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes))
    assert report.outcome is Outcome.DONE, report.error
    keys = [row["message_key"] for row in rows(workspace, "messages")]
    assert len(keys) == len(set(keys)) == 5
    state = status(workspace.index, [KIM], workspace.clock.now())[0]
    assert (state.messages, state.occurrences) == (5, 7)
    found = verify(workspace, KIM)
    assert (found.repaired, found.damage) == ([], [])


@pytest.mark.parametrize(("files", "ahead"), [("one", False), ("many", False), ("many", True)])
def test_a_newer_normaliser_may_find_that_two_messages_are_one_and_one_is_two(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch, files: str, ahead: bool
) -> None:
    workspace = reopen()
    if files == "many":
        workspace.commit_every(1)
    if ahead:
        workspace.mime = ReadingAhead()
    inbox = workspace.servers[KIM].inbox
    folded = mail(3).replace(b"Subject: Report 3", b"Subject: Report\r\n 3")
    inbox.deliver(folded)
    ingest(workspace)

    def newer(mime: bytes) -> object:
        record = normalise(mime)
        key = "0" * 40 if record.subject in ("Report 1", "Report 2") else record.message_key
        return record._replace(message_key="1" * 40 if mime == folded else key)

    monkeypatch.setattr("pipelines.mime.process.normalise", newer)
    monkeypatch.setattr("pipelines.ingest.rebuild.normalise", newer)
    list(run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes)))
    keys = [row["message_key"] for row in rows(workspace, "messages")]
    assert len(keys) == len(set(keys)) == 6
    assert {"0" * 40, "1" * 40} <= set(keys)
    state = status(workspace.index, [KIM], workspace.clock.now())[0]
    assert (state.messages, state.occurrences) == (6, 8)
    assert verify(workspace, KIM).repaired == []


def test_what_is_in_the_index_already_is_not_written_again(reopen: Opener) -> None:
    """Each column that is written costs its place in the table's indexes, once out and once in."""
    workspace = reopen()
    ingest(workspace)
    written: list[str] = []

    def remember(*told: Any) -> None:
        written.append(told[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", remember)
    try:
        list(run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes)))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", remember)
    updates = [each for each in written if each.startswith("UPDATE messages")]
    assert len(updates) == 1
    assert re.findall(r"(\w+) ?=", updates[0].partition("WHERE")[0]) == ["normaliser_version", "file_id"]


def test_bytes_that_cannot_be_read_any_more_leave_their_file_as_it_was(
    reopen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = reopen()
    ingest(workspace)
    before = {row["message_key"] for row in rows(workspace, "messages")}

    def newer(mime: bytes) -> object:
        if mime == mail(3):
            raise RecursionError("deep")
        return normalise(mime)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.mime.process.normalise", newer)
        (report,) = run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes))
    assert report.outcome is Outcome.FAILED
    assert normalise(mail(3)).raw_sha256 in str(report.error)
    assert "RecursionError" in str(report.error)
    assert {row["message_key"] for row in rows(workspace, "messages")} == before
    (report,) = run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes))
    assert report.messages == len(before)


def test_a_file_of_another_index_is_never_swept(reopen: Opener) -> None:
    workspace = reopen()
    ingest(workspace)
    own = data_file(workspace, Dataset.RAW)
    foreign = own.with_name("deadbeef-1-1.parquet")
    shutil.copy(own, foreign)
    assert isinstance(ingest(workspace).error, LakeMismatchError)
    assert foreign.exists()


def test_secrets_stay_secret_lake_and_index_are_readable_by_their_owner_only(
    tmp_path: Path, reopen: Opener
) -> None:
    ingest(reopen())
    for path in [*(tmp_path / "lake").rglob("*"), *tmp_path.glob("mailover.db*")]:
        assert path.stat().st_mode & 0o077 == 0, path
