"""kill -9 at every commit point, and a re-run: nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage
from pipelines.lake import Dataset
from tests.index_fixture import assert_sums_are_kept
from tests.ingest.conftest import rows
from tests.ingest.crashing import BACKFILL, IMPORT, POINTS, open_workspace, server, work
from tests.ingest.model import KIM, ModelWorkspace, mail

ROOT = Path(__file__).parents[2]
REWRITING = [point for point in POINTS if "replace" in point or "deleted" in point]
ONLY_BACKFILLING = [point for point in POINTS if "month" in point or "backfill" in point]
ONLY_IMPORTING = [point for point in POINTS if "archive" in point]
ONLY_COMPACTING = [point for point in POINTS if "merge" in point or "exchanged" in point]
ONLY_PURGING = [point for point in POINTS if "erased" in point or "scrubbed" in point]
INGESTING = [
    point
    for point in POINTS
    if point not in REWRITING + ONLY_BACKFILLING + ONLY_IMPORTING + ONLY_COMPACTING + ONLY_PURGING
]
ONCE = [point for point in POINTS if point.endswith(("recorded", "finished"))]
BACKFILLING = [point for point in INGESTING + ONLY_BACKFILLING if "pass" not in point]
IMPORTING = [
    point for point in POINTS if "published" in point or "transaction" in point or "archive" in point
]


def crash(folder: Path, point: str, occurrence: int, stage: str) -> None:
    process = subprocess.run(
        [sys.executable, str(ROOT / "tests/ingest/crashing.py"), str(folder), point, str(occurrence), stage],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {process.stderr}"


def run(folder: Path, stage: str = Stage.RAW_MESSAGES) -> ModelWorkspace:
    workspace = open_workspace(folder)
    report = work(workspace, stage)
    assert report.outcome is Outcome.DONE, report.error
    return workspace


def assert_exact(workspace: ModelWorkspace) -> None:
    assert_sums_are_kept(workspace.index)
    everything = server().all_mime()
    raw = [row["mime"] for row in rows(workspace, "raw")]
    assert sorted(raw) == sorted(everything)  # type: ignore[type-var]
    keys = [row["message_key"] for row in rows(workspace, "messages")]
    assert len(keys) == len(set(keys)) == len(everything)
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, KIM)
        assert result.passed, (check.__name__, result.summary)


@pytest.mark.parametrize("occurrence", [1, 2, 4])
@pytest.mark.parametrize("point", INGESTING)
def test_nothing_lost_nothing_twice_after_kill_9(tmp_path: Path, point: str, occurrence: int) -> None:
    crash(tmp_path, point, 1 if point in ONCE else occurrence, Stage.RAW_MESSAGES)
    workspace = run(tmp_path)
    assert_exact(workspace)
    workspace.close()


@pytest.mark.parametrize("point", BACKFILLING)
def test_nothing_lost_nothing_twice_after_kill_9_in_a_backfill(tmp_path: Path, point: str) -> None:
    crash(tmp_path, point, 1 if point in ONCE else 3, BACKFILL)
    workspace = run(tmp_path, BACKFILL)
    assert_exact(workspace)
    workspace.close()
    workspace = run(tmp_path)
    assert workspace.servers[KIM].fetched == []
    assert_exact(workspace)
    workspace.close()


def test_nothing_twice_an_orphan_is_swept_by_the_next_run(tmp_path: Path) -> None:
    crash(tmp_path, "inside the transaction", 2, Stage.RAW_MESSAGES)
    before = open_workspace(tmp_path)
    orphans = before.lake.files(Dataset.RAW, KIM)
    before.close()
    workspace = run(tmp_path)
    named = workspace.lake.files(Dataset.RAW, KIM)
    assert orphans - named, "the crash left a file that no transaction named"
    workspace.close()


@pytest.mark.parametrize("point", REWRITING)
def test_nothing_twice_after_kill_9_while_messages_are_written_anew(tmp_path: Path, point: str) -> None:
    run(tmp_path).close()
    crash(tmp_path, point, 2, Stage.MESSAGES)
    workspace = run(tmp_path)
    assert_exact(workspace)
    workspace.close()


@pytest.mark.parametrize("again", [Stage.MESSAGES, Stage.MESSAGE_INDEX])
def test_bytes_are_kept_each_stage_can_be_redone_from_the_one_before(tmp_path: Path, again: Stage) -> None:
    run(tmp_path).close()
    workspace = run(tmp_path, again)
    assert_exact(workspace)
    workspace.close()


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("point", IMPORTING)
def test_nothing_lost_nothing_twice_after_kill_9_while_files_are_imported(
    tmp_path: Path, point: str, occurrence: int
) -> None:
    every = [mail(number) for number in range(9)]
    separator = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "Box").write_bytes(b"".join(separator + each + b"\n" for each in every))
    for number, mime in enumerate([*every[:4], every[0]]):
        (tmp_path / "mail" / f"{number}.eml").write_bytes(mime)
    crash(tmp_path, point, 1 if "folders" in point else occurrence, IMPORT)
    workspace = open_workspace(tmp_path)
    report = work(workspace, IMPORT, tmp_path / "mail")
    assert isinstance(report, MailboxReport)
    assert (report.outcome, report.total("listed")) == (Outcome.DONE, 14)
    assert sorted(row["mime"] for row in rows(workspace, "raw")) == sorted(every)  # type: ignore[type-var]
    assert len({row["message_key"] for row in rows(workspace, "messages")}) == len(every)
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        assert check(workspace, KIM).passed
    workspace.close()
