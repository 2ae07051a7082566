"""The files of a batch are written while its rows are, and nothing counts before they are there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.errors import UnreachableError
from pipelines.index.engine import Index
from pipelines.index.tables import data_files
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.lake import DataFile
from pipelines.lake.storage import Lake
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelWorkspace, mail

pytestmark = pytest.mark.both_indexes

LETTERS = [mail(number) for number in range(3)]
LONG = 0.2
"""Seconds in which a batch's rows are written, many times over."""


@pytest.fixture
def delivered(workspace: ModelWorkspace) -> ModelWorkspace:
    for letter in LETTERS:
        workspace.servers[KIM].inbox.deliver(letter)
    return workspace


def ingest(workspace: ModelWorkspace) -> MailboxReport:
    return ingest_mailbox(workspace, workspace.config.mailbox(KIM))


def at_each_file(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """What happens in the thread that writes a file, before it is there."""
    publish = Lake.publish

    def published(lake: Lake, *told: Any, **named: Any) -> DataFile:
        happens()
        return publish(lake, *told, **named)

    monkeypatch.setattr(Lake, "publish", published)


def named_files(workspace: ModelWorkspace) -> dict[str, int]:
    with workspace.index.read() as connection:
        return {row.path: row.size for row in connection.execute(sa.select(data_files))}


def test_nothing_lost_the_index_names_no_file_before_it_is_there(
    delivered: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[dict[str, int]] = []

    def look() -> None:
        time.sleep(LONG)
        named.append(named_files(delivered))

    at_each_file(monkeypatch, look)
    assert ingest(delivered).outcome is Outcome.DONE
    assert named == [{}, {}]
    there = {
        path.relative_to(delivered.lake.root).as_posix(): path.stat().st_size
        for path in Path(delivered.lake.root).rglob("*.parquet")
    }
    assert named_files(delivered) == there


@pytest.mark.parametrize("broken", [1, 2])
def test_nothing_lost_without_one_of_its_files_nothing_of_a_batch_counts(
    delivered: ModelWorkspace, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    files = 0

    def fail() -> None:
        nonlocal files
        files += 1
        if files == broken:
            raise UnreachableError("the lake cannot be reached")

    with monkeypatch.context() as patch:
        at_each_file(patch, fail)
        report = ingest(delivered)
    assert report.outcome is Outcome.FAILED
    assert isinstance(report.error, UnreachableError)
    assert named_files(delivered) == {}
    assert ingest(delivered).messages == len(LETTERS)
    assert [row["mime"] for row in rows(delivered, "raw")] == LETTERS
    assert len(rows(delivered, "messages")) == len(LETTERS)


def test_no_transaction_is_open_while_an_object_store_is_waited_for(
    delivered: ModelWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, is_open, seen = Index.write, False, []

    @contextmanager
    def writing(index: Index) -> Iterator[sa.Connection]:
        nonlocal is_open
        with write(index) as connection:
            is_open = True
            try:
                yield connection
            finally:
                is_open = False

    def look() -> None:
        time.sleep(LONG)
        seen.append(is_open)

    monkeypatch.setattr(Index, "write", writing)
    at_each_file(monkeypatch, look)
    ingest(delivered)
    assert seen == [True, True]
    seen.clear()
    delivered.servers[KIM].inbox.deliver(mail(9))
    monkeypatch.setattr(delivered.lake, "is_local", False)
    assert ingest(delivered).messages == 1
    assert seen == [False, False]
