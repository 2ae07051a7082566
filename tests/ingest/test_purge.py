"""A mailbox is erased: no row, no word, no file of it is left, and nothing of its neighbours is missing."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.errors import LeaseHeldError, UsageError
from pipelines.index.lease import hold
from pipelines.index.lookup import row_of_mailbox
from pipelines.index.search import search
from pipelines.index.tables import messages, metadata
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.purge import known_mailbox, purge
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.verify import verify
from pipelines.ingest.workspace import Workspace
from pipelines.lake import partition
from pipelines.sources.base import Entry, FetchFailed
from tests.ingest.conftest import rows
from tests.ingest.crashing import PURGE, open_workspace
from tests.ingest.model import ALEX, KIM, ModelWorkspace, configure, mail
from tests.ingest.test_crashes import ONLY_PURGING, crash, run

MARKER = "wolpertinger"
FOLDED = "Ẁôlpertinģerſ"
"""Folds to other letters in the full-text index."""


@pytest.fixture
def ingested(workspace: ModelWorkspace) -> ModelWorkspace:
    """Kim's mailbox, in which every message says the marker, and Alex's, in which none does."""
    kim, alex = workspace.servers[KIM], workspace.servers[ALEX]
    for number in range(5):
        marked = mail(number, f"{MARKER} {FOLDED} number{number}").replace(
            b"Subject: ", b"Subject: " + MARKER.encode()
        )
        kim.inbox.deliver(marked)
        theirs = mail(number + 100, f"Harmless {number}.")
        alex.inbox.deliver(theirs.replace(KIM.encode(), ALEX.encode()))
    uid = kim.inbox.deliver(mail(5))
    kim.poison[f"1:{uid}"] = FetchFailed(Entry(""), "conversion-failed", "no", fallback=MARKER.encode())
    for address in (KIM, ALEX):
        ingest_mailbox(workspace, workspace.config.mailbox(address))
    return workspace


def places_with(folder: Path, word: str) -> list[Path]:
    """Files whose bytes or names hold the word."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [each for each in files if word.encode() in each.read_bytes().lower() or word in str(each)]


def words(workspace: Workspace) -> set[str]:
    """Every word of the full-text index."""
    with workspace.index.write() as connection:
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE temp.w USING fts5vocab('main', 'message_text', 'row')"
        )
        found = set(connection.exec_driver_sql("SELECT term FROM w").scalars())
        connection.exec_driver_sql("DROP TABLE w")
    return found


def assert_erased(folder: Path, workspace: Workspace) -> None:
    assert not [word for word in words(workspace) if word.startswith(("wolper", "number"))]
    assert search(workspace.index, MARKER, 10) == []
    assert search(workspace.index, f"mailbox:{KIM}", 10) == []
    assert places_with(folder, MARKER) == []
    assert [each for each in (folder / "lake").rglob("*") if partition(KIM) in str(each)] == []


def assert_neighbour_is_whole(workspace: Workspace) -> None:
    assert len(search(workspace.index, "harmless", 10)) == 5
    (hit,) = search(workspace.index, '"harmless 3"', 10)
    assert hit.mailbox == ALEX
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        assert check(workspace, ALEX).passed
    found = verify(workspace, ALEX)
    assert (found.repaired, found.damage) == ([], [])


def test_a_purged_mailbox_is_nowhere_any_more(tmp_path: Path, ingested: ModelWorkspace) -> None:
    assert places_with(tmp_path, MARKER)
    done = purge(ingested, KIM)
    assert (done.configured, done.rows["messages"], done.rows["quarantine"], done.texts) == (True, 5, 1, 5)
    assert done.files == 4, "raw, messages, the form in quarantine, control"
    assert_erased(tmp_path, ingested)
    assert_neighbour_is_whole(ingested)


def test_no_page_of_the_index_holds_what_was_deleted(ingested: ModelWorkspace) -> None:
    many = " ".join(f"{MARKER}{number}" for number in range(20_000))
    ingested.servers[KIM].inbox.deliver(mail(50, many))
    ingest_mailbox(ingested, ingested.config.mailbox(KIM))
    purge(ingested, KIM)
    with ingested.index.read() as connection:
        assert connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() == 0


def test_words_of_earlier_rows_are_erased_too(tmp_path: Path, ingested: ModelWorkspace) -> None:
    with ingested.index.write() as connection:
        # What was indexed before digests were kept is indexed once more.
        connection.execute(sa.update(messages).values(text_digest=None))
    for stage in (Stage.MESSAGES, Stage.MESSAGE_INDEX):
        list(run_stage(ingested, stage, list(ingested.config.mailboxes)))
    assert purge(ingested, KIM).texts == 5 * 3 + 5 * 2, "Alex has texts that no message has any more as well"
    assert_erased(tmp_path, ingested)
    assert len(search(ingested.index, "harmless", 10)) == 5


def test_a_configured_mailbox_starts_from_nothing_at_its_next_round(ingested: ModelWorkspace) -> None:
    purge(ingested, KIM)
    ingested.servers[KIM].fetched.clear()
    report = ingest_mailbox(ingested, ingested.config.mailbox(KIM))
    assert (report.messages, len(ingested.servers[KIM].fetched)) == (5, 5)
    assert len(search(ingested.index, MARKER, 10)) == 5
    assert verify(ingested, KIM).repaired == []


def test_a_mailbox_that_is_configured_no_more_leaves_no_row(tmp_path: Path, ingested: ModelWorkspace) -> None:
    ingested.config = configure(tmp_path, ALEX)
    assert known_mailbox(ingested, f" {KIM.upper()} ") == KIM
    assert not purge(ingested, KIM).configured
    assert_erased(tmp_path, ingested)
    assert places_with(tmp_path, KIM) == []
    with ingested.index.read() as connection:
        alex = row_of_mailbox(connection, ALEX)
        for table in metadata.sorted_tables:
            for name in {"mailbox_id"} & set(table.c.keys()):
                assert set(connection.scalars(sa.select(table.c[name]))) <= {alex}, table.name
    assert_neighbour_is_whole(ingested)
    with pytest.raises(UsageError, match="nothing is known"):
        known_mailbox(ingested, KIM)


def test_bad_input_gets_a_clear_error_for_an_unknown_mailbox(ingested: ModelWorkspace) -> None:
    with pytest.raises(UsageError, match="nothing is known of a mailbox") as raised:
        known_mailbox(ingested, "kim.aker@contoso.com")
    assert raised.value.remedy == f"did you mean {KIM}?"


def test_one_writer_a_mailbox_that_is_being_read_is_not_erased(ingested: ModelWorkspace) -> None:
    with hold(ingested.index, KIM, ingested.clock), pytest.raises(LeaseHeldError):
        purge(ingested, KIM)
    assert len(search(ingested.index, MARKER, 10)) == 5


@pytest.mark.parametrize("point", ONLY_PURGING)
def test_nothing_is_left_after_kill_9_and_a_second_purge(tmp_path: Path, point: str) -> None:
    run(tmp_path).close()
    crash(tmp_path, point, 1, PURGE)
    workspace = open_workspace(tmp_path)
    purge(workspace, KIM)
    assert words(workspace) == set()
    assert rows(workspace, "raw") == rows(workspace, "messages") == []
    assert places_with(tmp_path, "figures") == []
    workspace.close()


@pytest.mark.parametrize("point", ONLY_PURGING[1:])
def test_nothing_lost_after_kill_9_a_round_reads_everything_anew(tmp_path: Path, point: str) -> None:
    run(tmp_path).close()
    crash(tmp_path, point, 1, PURGE)
    workspace = run(tmp_path)
    assert {row["mime"] for row in rows(workspace, "raw")} == workspace.servers[KIM].all_mime()
    assert nothing_twice(workspace, KIM).passed
    workspace.close()
