"""The same promises with the index in PostgreSQL and the lake in an object store, which renames nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import UnreachableError
from pipelines.index.search import search
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.purge import purge
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage
from pipelines.ingest.verify import verify
from tests.index_fixture import database, database_name, lose_index
from tests.ingest.conftest import rows
from tests.ingest.crashing import BACKFILL, COMPACT, open_workspace, server
from tests.ingest.model import KIM
from tests.ingest.test_compaction import commit_one_by_one
from tests.ingest.test_crashes import assert_exact, crash, run
from tests.lake_fixture import LAKE_VARIABLE
from tests.object_store_fixture import ObjectStore
from tests.postgres_fixture import Postgres


@pytest.fixture(autouse=True)
def _production(
    request: pytest.FixtureRequest, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv(LAKE_VARIABLE, object_store.lake_url())
    with database(request, "postgresql"):
        yield


@pytest.mark.parametrize(
    ("point", "occurrence"),
    [
        ("after a file is published", 1),
        ("inside the transaction", 2),
        ("after the transaction", 2),
        ("before the pass is recorded", 1),
    ],
)
def test_nothing_lost_nothing_twice_after_kill_9(tmp_path: Path, point: str, occurrence: int) -> None:
    crash(tmp_path, point, occurrence, Stage.RAW_MESSAGES)
    workspace = run(tmp_path)
    assert_exact(workspace)
    workspace.close()


@pytest.mark.parametrize("point", ["inside the replacement", "before a file is deleted"])
def test_nothing_twice_after_kill_9_while_messages_are_written_anew(tmp_path: Path, point: str) -> None:
    run(tmp_path).close()
    crash(tmp_path, point, 2, Stage.MESSAGES)
    workspace = run(tmp_path)
    assert_exact(workspace)
    workspace.close()


def test_nothing_lost_nothing_twice_after_kill_9_in_a_backfill(tmp_path: Path) -> None:
    crash(tmp_path, "after the transaction", 3, BACKFILL)
    workspace = run(tmp_path, BACKFILL)
    assert_exact(workspace)
    workspace.close()


@pytest.mark.parametrize(
    ("point", "occurrence"),
    [
        ("after files are merged", 1),
        ("after a file is deleted", 3),
    ],
)
def test_nothing_lost_nothing_twice_after_kill_9_while_files_are_merged(
    tmp_path: Path, point: str, occurrence: int
) -> None:
    commit_one_by_one(tmp_path)
    crash(tmp_path, point, occurrence, COMPACT)
    workspace = run(tmp_path, COMPACT)
    assert_exact(workspace)
    workspace.close()


def test_a_purged_mailbox_is_nowhere_any_more(tmp_path: Path, postgres: Postgres) -> None:
    workspace = run(tmp_path)
    assert search(workspace.index, "report", 1)
    done = purge(workspace, KIM)
    assert done.rows["messages"] == done.texts == len(server().all_mime())
    assert workspace.lake.mailboxes() == set()
    assert search(workspace.index, "report", 1) == []
    assert postgres.count(database_name(), "message_text") == 0
    workspace.close()


def test_bytes_are_kept_a_lost_index_is_built_anew_from_the_lake(tmp_path: Path) -> None:
    run(tmp_path).close()
    lose_index(tmp_path)
    workspace = open_workspace(tmp_path)
    assert verify(workspace, KIM).damage == []
    assert ingest_mailbox(workspace, workspace.config.mailbox(KIM)).outcome is Outcome.DONE
    assert workspace.servers[KIM].fetched == []
    assert_exact(workspace)
    workspace.close()


def test_nothing_lost_nothing_twice_a_connection_that_ends_in_the_middle(
    tmp_path: Path, postgres: Postgres
) -> None:
    workspace = open_workspace(tmp_path)
    mailbox, kim = workspace.config.mailbox(KIM), workspace.servers[KIM]
    cut = iter([False, False, True])

    def before_fetch(_path: str, _native_id: str) -> None:
        if next(cut, False):
            postgres.end_connections(database_name())
            postgres.run("postgres", f"ALTER DATABASE {database_name()} ALLOW_CONNECTIONS false")

    kim.before_fetch = before_fetch
    report = ingest_mailbox(workspace, mailbox)
    assert isinstance(report.error, UnreachableError), report.error
    assert "cannot be reached" in report.error.message
    postgres.run("postgres", f"ALTER DATABASE {database_name()} ALLOW_CONNECTIONS true")
    workspace.close()
    workspace = run(tmp_path)
    assert_exact(workspace)
    assert len(rows(workspace, "raw")) == len(server().all_mime())
    workspace.close()
