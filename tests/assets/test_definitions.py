"""What Dagster is shown: the same every time, loadable, telemetry off."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def test_the_definitions_load_and_hold_what_is_documented(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "raw_messages",
        "messages",
        "message_index",
        "archive_windows",
        "parity",
        "phases",
    }
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        ("raw_messages", "nothing_lost"),
        ("raw_messages", "bytes_are_kept"),
        ("messages", "nothing_twice"),
        ("parity", "parity_allows_the_switch"),
        ("raw_messages", "quarantine_is_empty"),
    }
    repository = defs.get_repository_def()
    assert {"ingest", "check", "cutover", "waves", "count_phases", "compact"} <= set(repository.job_names)
    assert {each.name for each in repository.schedule_defs} == {
        "ingest_schedule",
        "check_schedule",
        "compact_schedule",
        "count_phases_schedule",
    }
    assert {each.name for each in repository.sensor_defs} == {"mailbox_partitions", "promote_waves"}


def test_workspace_yaml_loads_the_location_mailover() -> None:
    validated = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr
    assert "mailover" in validated.stderr + validated.stdout


@pytest.mark.parametrize("kind", ["local", "production", "celery"])
def test_the_instance_settings_have_telemetry_off_and_retry_only_crashed_runs(kind: str) -> None:
    settings = yaml.safe_load((ROOT / "assets" / "instance" / kind / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False


@pytest.mark.parametrize("kind", ["local", "production", "celery"])
def test_backfills_leave_a_place_for_scheduled_runs(kind: str) -> None:
    settings = yaml.safe_load((ROOT / "assets" / "instance" / kind / "dagster.yaml").read_text())
    runs = settings["concurrency"]["runs"]
    (backfills,) = [each for each in runs["tag_concurrency_limits"] if each["key"] == "dagster/backfill"]
    assert 0 < backfills["limit"] < runs["max_concurrent_runs"]


def test_the_local_instance_settings_load(tmp_path: Path) -> None:
    settings = (ROOT / "assets" / "instance" / "local" / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False
