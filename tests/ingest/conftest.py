"""Workspaces over model mailboxes, and what stands in their lake."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.ingest.workspace import Workspace
from tests.ingest.model import ALEX, KIM, ModelMailbox, ModelWorkspace, VirtualClock, configure
from tests.lake_fixture import rows_of


@pytest.fixture
def open_model(tmp_path: Path) -> Iterator[Callable[..., ModelWorkspace]]:
    """Open a workspace over the mailboxes of Kim and Alex; again on the same folder, if asked again."""
    opened: list[ModelWorkspace] = []
    servers = {KIM: ModelMailbox(), ALEX: ModelMailbox()}

    def opener(clock: VirtualClock | None = None) -> ModelWorkspace:
        opened.append(ModelWorkspace(configure(tmp_path, KIM, ALEX), servers, clock or VirtualClock()))
        return opened[-1]

    yield opener
    for workspace in opened:
        workspace.close()


@pytest.fixture
def workspace(open_model: Callable[..., ModelWorkspace]) -> ModelWorkspace:
    return open_model()


def rows(workspace: Workspace, dataset: str) -> list[dict[str, object]]:
    """What any reader of ``**/*.parquet`` finds in a dataset."""
    return rows_of(workspace.lake, dataset)
