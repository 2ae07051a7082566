"""Small files merged in place: fewer files, the same rows, at every moment."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.index.lease import hold
from pipelines.index.search import search
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.compaction import Compaction, compact
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.reading import read_message, read_mime
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.verify import verify
from pipelines.lake import Dataset, replacing
from pipelines.lake.storage import Lake
from pipelines.lake.tiers import FAN_IN
from tests.index_fixture import lose_index
from tests.ingest.conftest import rows
from tests.ingest.crashing import COMPACT, ONE_BY_ONE, no_exchange, open_workspace, work
from tests.ingest.model import KIM, START, ModelMailbox, ModelWorkspace, VirtualClock, configure, mail
from tests.ingest.test_crashes import assert_exact, crash, run

MESSAGES = 40


class ObjectStore(Lake):
    """What a lake does on an object store, over a folder: no folders that have to be there, no exchange."""

    def _write(self, path: str, content: object) -> None:
        (Path(self.root) / path).parent.mkdir(parents=True, exist_ok=True)
        super()._write(path, content)


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], ModelWorkspace]:
    """Kim's mailbox, forty messages over two years, committed one by one; opened again, if asked again."""
    server = ModelMailbox()
    for number in range(MESSAGES):
        server.inbox.deliver(mail(number), START + timedelta(weeks=2 * number))

    def opener() -> ModelWorkspace:
        return ModelWorkspace(configure(tmp_path, KIM), {KIM: server}, VirtualClock()).commit_every(1)

    return opener


@pytest.fixture
def ingested(reopen: Callable[[], ModelWorkspace]) -> ModelWorkspace:
    workspace = reopen()
    assert ingest_mailbox(workspace, workspace.config.mailbox(KIM)).messages == MESSAGES
    return roomy(workspace)


def roomy(workspace: ModelWorkspace) -> ModelWorkspace:
    """Files may be large again."""
    return workspace.commit_every(32 * 1024 * 1024)


def done(workspace: ModelWorkspace) -> Compaction:
    compacted = compact(workspace, KIM)
    assert compacted.outcome is Outcome.DONE, compacted.error
    return compacted


def assert_whole(workspace: ModelWorkspace) -> None:
    everything = workspace.servers[KIM].all_mime()
    assert sorted(row["mime"] for row in rows(workspace, "raw")) == sorted(everything)  # type: ignore[type-var]
    assert len({row["message_key"] for row in rows(workspace, "messages")}) == MESSAGES
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        assert check(workspace, KIM).passed
    assert verify(workspace, KIM).to_json() | {"files": 0, "bytes": 0} == {
        "mailbox": KIM,
        "files": 0,
        "messages": MESSAGES,
        "bytes": 0,
        "orphans_swept": 0,
        "repaired": [],
        "damage": [],
        "skipped": None,
    }


def without_places(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(found, key=lambda row: str(row["raw_sha256"]))


def test_bytes_are_kept_rows_are_the_same_in_fewer_files(ingested: ModelWorkspace) -> None:
    before = {each: without_places(rows(ingested, each)) for each in Dataset}
    assert len(ingested.lake.files(Dataset.RAW, KIM)) == MESSAGES
    compacted = done(ingested)
    assert {each: without_places(rows(ingested, each)) for each in Dataset} == before
    for dataset in Dataset:
        years = Counter(path.split("/")[2] for path in ingested.lake.files(dataset, KIM))
        assert years == {"year=2025": 1, "year=2026": 1}
    assert (compacted.merged, compacted.written, compacted.rows) == (2 * MESSAGES, 4, 2 * MESSAGES)
    assert_whole(ingested)
    assert done(ingested).merged == 0


def test_bytes_are_kept_no_column_and_no_type_changes(ingested: ModelWorkspace) -> None:
    root = Path(ingested.lake.root)
    schemas = {each: pq.read_schema(root / min(ingested.lake.files(each, KIM))) for each in Dataset}
    done(ingested)
    for dataset, schema in schemas.items():
        for path in ingested.lake.files(dataset, KIM):
            assert pq.read_schema(root / path).equals(schema, check_metadata=True)


def test_few_files_are_left_alone(ingested: ModelWorkspace) -> None:
    done(ingested)
    for number in range(FAN_IN - 1):
        ingested.servers[KIM].inbox.deliver(mail(MESSAGES + number), START + timedelta(days=number))
        assert ingest_mailbox(ingested, ingested.config.mailbox(KIM)).messages == 1
    assert done(ingested).merged == 0


def test_bounded_memory_no_file_grows_beyond_a_batch(reopen: Callable[[], ModelWorkspace]) -> None:
    workspace = reopen()
    inbox = workspace.servers[KIM].inbox
    inbox.messages = {
        uid: replace(each, mime=each.mime + os.urandom(20_000).hex().encode())
        for uid, each in inbox.messages.items()
    }
    ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    workspace.commit_every(10 * 41_000)
    done(workspace)
    per_file = [
        workspace.lake.describe(Dataset.RAW, path).rows for path in workspace.lake.files(Dataset.RAW, KIM)
    ]
    assert max(per_file) in range(5, 11)
    assert_whole(workspace)


def test_search_and_show_find_what_was_merged(ingested: ModelWorkspace) -> None:
    done(ingested)
    (hit,) = search(ingested.index, "subject:17", 10)
    assert read_mime(ingested, hit.message_key) == mail(17)
    assert read_message(ingested, hit.message_key)["subject"] == "Report 17"


def test_show_finds_a_message_whose_file_gives_way_meanwhile(
    ingested: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hit,) = search(ingested.index, "subject:17", 10)
    real = Lake.find

    def late(lake: Lake, path: str, column: str, value: str) -> object:
        if len(ingested.lake.files(Dataset.RAW, KIM)) == MESSAGES:
            done(ingested)
        return real(lake, path, column, value)

    monkeypatch.setattr(Lake, "find", late)
    assert read_mime(ingested, hit.message_key) == mail(17)


@pytest.mark.parametrize("stage", [Stage.MESSAGES, Stage.MESSAGE_INDEX])
def test_bytes_are_kept_what_was_merged_can_be_written_and_indexed_anew(
    ingested: ModelWorkspace, stage: Stage
) -> None:
    done(ingested)
    (report,) = run_stage(ingested, stage, list(ingested.config.mailboxes))
    assert report.outcome is Outcome.DONE, report.error
    assert report.messages == MESSAGES
    ingest_mailbox(ingested, ingested.config.mailbox(KIM))
    ingested.servers[KIM].fetched.clear()
    assert_whole(ingested)
    assert ingested.servers[KIM].fetched == []


def test_one_writer_a_mailbox_being_written_is_left_alone(ingested: ModelWorkspace) -> None:
    with hold(ingested.index, KIM, ingested.clock):
        assert compact(ingested, KIM).outcome is Outcome.BUSY
    assert len(ingested.lake.files(Dataset.RAW, KIM)) == MESSAGES


def test_failure_is_contained_a_damaged_file_is_left_where_it_is(ingested: ModelWorkspace) -> None:
    path = min(ingested.lake.files(Dataset.RAW, KIM))
    (Path(ingested.lake.root) / path).write_bytes(b"PAR1 no more")
    compacted = compact(ingested, KIM)
    assert (compacted.outcome, compacted.unreadable) == (Outcome.ATTENTION, [path])
    assert compacted.merged == 2 * MESSAGES - 1
    assert path in ingested.lake.files(Dataset.RAW, KIM)


def keys_seen(workspace: ModelWorkspace) -> Counter[str]:
    """What a reader finds who lists the files, reads them, and lists again if one is gone."""
    while True:
        try:
            table = pads.dataset(Path(workspace.lake.root) / "messages", partitioning="hive").to_table()
        except FileNotFoundError:
            continue
        return Counter(table["message_key"].to_pylist())


def watch(workspace: ModelWorkspace) -> list[Counter[str]]:
    """What readers find who read all the time while files are merged."""
    seen = []
    finished = threading.Event()

    def read() -> None:
        while not finished.is_set():
            seen.append(keys_seen(workspace))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    done(workspace)
    finished.set()
    for each in readers:
        each.join()
    assert len(seen) > 2
    return seen


def test_nothing_twice_readers_see_every_row_once_at_any_moment(
    ingested: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, around = keys_seen(ingested), []
    real = replacing.exchange

    def look_before_and_after(one: Path, other: Path) -> None:
        around.append(keys_seen(ingested))
        real(one, other)
        around.append(keys_seen(ingested))

    monkeypatch.setattr(replacing, "exchange", look_before_and_after)
    assert all(found == expected for found in watch(ingested))
    assert around == [expected] * 8


def test_nothing_lost_readers_miss_no_row_where_folders_cannot_be_exchanged(
    ingested: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "exchange", no_exchange)
    expected = keys_seen(ingested)
    assert all(found >= expected for found in watch(ingested))
    assert keys_seen(ingested) == expected


def test_nothing_twice_a_merged_file_is_hidden_until_its_transaction(
    ingested: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read by the index's paths as soon as that is done."""
    expected, seen = keys_seen(ingested), []
    real = Lake.take_place

    def look(lake: Lake, path: str, old: set[str]) -> None:
        seen.append(keys_seen(ingested))
        for number in (3, 30):
            (hit,) = search(ingested.index, f"subject:{number}", 10)
            assert read_mime(ingested, hit.message_key) == mail(number)
        real(lake, path, old)

    monkeypatch.setattr(Lake, "take_place", look)
    done(ingested)
    assert seen == [expected] * 4


def test_bytes_are_kept_on_an_object_store(ingested: ModelWorkspace) -> None:
    ingested.lake = ObjectStore(f"file://{ingested.lake.root}")
    done(ingested)
    assert_whole(ingested)
    assert not list(Path(ingested.lake.root).rglob("*.staged"))


def commit_one_by_one(folder: Path) -> None:
    workspace = open_workspace(folder).commit_every(1)
    assert work(workspace, Stage.RAW_MESSAGES).outcome is Outcome.DONE
    workspace.close()


EXCHANGED = [
    "before a file is published",
    "after a file is published",
    "before files are merged",
    "inside the merge",
    "after files are merged",
    "before folders are exchanged",
    "after folders are exchanged",
    "before replaced files are forgotten",
]
SHOWN = [
    "before a merged file is shown",
    "after a merged file is shown",
    "after a merged file's part is taken away",
    "before replaced files are forgotten",
]


@pytest.mark.parametrize(
    ("point", "stage"), [*((each, COMPACT) for each in EXCHANGED), *((each, ONE_BY_ONE) for each in SHOWN)]
)
def test_nothing_lost_nothing_twice_after_kill_9_while_files_are_merged(
    tmp_path: Path, point: str, stage: str
) -> None:
    commit_one_by_one(tmp_path)
    crash(tmp_path, point, 2, stage)
    workspace = run(tmp_path)
    assert_exact(workspace)
    assert leftovers(tmp_path) == []
    assert compact(workspace, KIM).outcome is Outcome.DONE
    assert_exact(workspace)
    assert verify(workspace, KIM).repaired == []
    workspace.close()


def leftovers(folder: Path) -> list[Path]:
    lake = folder / "lake"
    return [
        each
        for each in lake.rglob("*")
        if each.is_file() and (each.name.startswith(".") or "aside" in each.parts)
    ]


@pytest.mark.parametrize("point", ["after files are merged", "after folders are exchanged"])
def test_nothing_lost_nothing_twice_when_the_index_is_lost_while_files_are_merged(
    tmp_path: Path, point: str
) -> None:
    commit_one_by_one(tmp_path)
    crash(tmp_path, point, 1, COMPACT)
    lose_index(tmp_path)
    workspace = run(tmp_path, Stage.MESSAGE_INDEX)
    workspace.close()
    workspace = run(tmp_path)
    assert workspace.servers[KIM].fetched == []
    assert_exact(workspace)
    assert leftovers(tmp_path) == []
    workspace.close()
