"""The switch as Dagster shows and runs it, over a sandbox tenant."""

from typing import Any

import dagster as dg
import pytest
from dagster import AssetKey

from assets.cutover import parity
from pipelines.index.journal import phase_rows
from pipelines.ingest.workspace import Workspace
from tests.assets.conftest import MAILBOXES
from tests.assets.test_runs import ask, evaluations, materialised, run
from tests.sandbox_fixture import RunningSandbox

KIM = "kim.akers@contoso.com"


def order(to: str, **more: Any) -> dict[str, Any]:
    config = {"mailboxes": [KIM], "to": to, "reason": "tested", "actor": "a tester", "dry_run": False}
    return {"ops": {"move_mailboxes": {"config": {**config, **more}}}}


def phases(tenant: RunningSandbox) -> dict[str, str]:
    workspace = Workspace(tenant.config)
    found = {address: row.phase for address, row in phase_rows(workspace.index).items()}
    workspace.close()
    return found


def test_a_mailbox_goes_to_graph_through_the_launchpad_and_each_flip_is_seen(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, "ingest", instance).success
    assert run(defs, "cutover", instance, run_config=order("SHADOW")).success
    assert run(defs, "ingest", instance).success
    (graded,) = materialised(instance, "parity").values()
    assert graded.partition == KIM
    assert graded.metadata["grade"].value == "perfect"
    matched = [each.value for name, each in graded.metadata.items() if name.startswith("matched by ")]
    assert sum(matched) == graded.metadata["legacy messages"].value  # type: ignore[arg-type]
    assert run(defs, "cutover", instance, run_config=order("GRAPH")).success
    assert phases(tenant) == {**dict.fromkeys(MAILBOXES, "legacy"), KIM: "graph"}
    flips = instance.fetch_observations(AssetKey("messages"), limit=10).records
    told = [each.asset_observation for each in flips]
    assert [(each.partition, each.metadata["to"].value) for each in told if each] == [
        (KIM, "graph"),
        (KIM, "shadow"),
    ]


def test_a_flip_is_a_dry_run_unless_told_otherwise(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    config = order("SHADOW")
    del config["ops"]["move_mailboxes"]["config"]["dry_run"]
    assert run(defs, "cutover", instance, run_config=config).success
    assert phases(tenant)[KIM] == "legacy"


def test_a_refused_switch_fails_its_run_and_says_why(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    refused = run(defs, "cutover", instance, run_config=order("GRAPH"))
    assert not refused.success
    (failure,) = [each for each in refused.all_events if each.is_step_failure]
    assert failure.step_failure_data.user_failure_data
    assert "--to shadow" in str(failure.step_failure_data.user_failure_data.metadata)


def test_bad_input_gets_a_clear_error_from_a_phase_that_does_not_exist(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="EWS"):
        run(defs, "cutover", instance, run_config=order("EWS"))


def test_parity_can_be_asked_of_one_mailbox_and_its_check_blocks_what_is_poor(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, "ingest", instance).success
    messages = tenant.control.messages()
    inbox = next(each for each in messages if (each["mailbox"], each["folder"]) == (KIM, "Inbox"))
    tenant.control.do("hide", address=KIM, path="Inbox", uid=inbox["uid"], door="graph")
    compared = dg.materialize(
        [parity], instance=instance, resources=defs.resources, tags={"dagster/partition": KIM}
    )
    assert compared.success
    assert materialised(instance, "parity")[KIM].metadata["grade"].value == "poor"
    asked = ask(defs, instance, "parity", "parity_allows_the_switch", KIM)
    assert not asked.success, "a blocking check that fails stops what hangs on it"
    assert evaluations(instance, "parity_allows_the_switch") == {KIM: False}


def test_waves_move_by_their_sensor(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    text = tenant.config_path.read_text().replace(f"address: {KIM}\n", f"address: {KIM}\n    wave: pilot\n")
    tenant.config_path.write_text(f"{text}cutover: {{waves: [pilot], clean_parities: 1}}\n")
    sensor = defs.resolve_sensor_def("promote_waves")

    def tick() -> object:
        with dg.build_sensor_context(instance=instance, resources=defs.resources) as context:
            return sensor.evaluate_tick(context)

    assert run(defs, "ingest", instance).success
    for phase in ("shadow", "graph"):
        assert tick().run_requests  # type: ignore[attr-defined]
        assert run(defs, "waves", instance).success
        assert phases(tenant)[KIM] == phase
        assert run(defs, "ingest", instance).success
    assert tick().skip_message == "nothing is to be moved now"  # type: ignore[attr-defined]


def test_phases_are_counted_for_the_timeline(
    defs: dg.Definitions, instance: dg.DagsterInstance, tenant: RunningSandbox
) -> None:
    assert run(defs, "count_phases", instance).success
    (counted,) = materialised(instance, "phases").values()
    assert {name: counted.metadata[name].value for name in ("legacy", "shadow", "graph")} == {
        "legacy": 3,
        "shadow": 0,
        "graph": 0,
    }
