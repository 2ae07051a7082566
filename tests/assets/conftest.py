"""A Dagster instance for one test, and the project's definitions over a sandbox tenant."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.sandbox_fixture import RunningSandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)
    warnings.simplefilter("ignore", dg.BetaWarning)
    from assets.definitions import defs as project_defs

MAILBOXES = ["alex.wilber@contoso.com", "kim.akers@contoso.com", "sales@contoso.com"]


@pytest.fixture
def defs() -> dg.Definitions:
    return project_defs


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """On disk, so that its event log can be read as files."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as opened:
        opened.add_dynamic_partitions("mailboxes", MAILBOXES)
        yield opened


@pytest.fixture
def tenant(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    return sandbox
