"""Waves move by themselves: in order, when clean, within their hours, and stop where it is wise."""

from pipelines.cutover.passes import read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.policy import Plan, carry_out, plan
from pipelines.cutover.switch import Result
from pipelines.errors import ConnectionLostError
from pipelines.index.holds import Hold, hold_mailbox, hold_wave, release_mailbox, release_wave
from pipelines.index.journal import history
from pipelines.sources.base import ProtocolName
from tests.cutover.conftest import Opener
from tests.cutover.steps import GRAPH, deliver, mailbox_id, phase, read
from tests.ingest.model import ALEX, KIM
from tests.tenant_model import TenantWorkspace


def steps(made: Plan) -> list[tuple[str, str]]:
    return [(each.mailbox, each.phase_to) for each in made.steps]


def take(workspace: TenantWorkspace) -> list[Result]:
    return [each.result for each in carry_out(workspace, plan(workspace).steps)]


def both_in_shadow(workspace: TenantWorkspace, parities: int = 0) -> None:
    for address in (KIM, ALEX):
        deliver(workspace, 1, 2, address=address)
        read(workspace, address)
    assert take(workspace) == [Result.DONE, Result.DONE]
    for _ in range(parities):
        read(workspace)
        read(workspace, ALEX)


def test_a_wave_goes_to_the_shadow_and_then_to_graph_when_it_is_clean(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"], clean_parities=2)
    both_in_shadow(workspace)
    assert plan(workspace).steps == []
    assert plan(workspace).waves[0].waiting[KIM] == "0 of 2 clean parities in a row"
    read(workspace)
    assert plan(workspace).waves[0].waiting[KIM] == "1 of 2 clean parities in a row"
    read(workspace)
    assert steps(plan(workspace)) == [(KIM, Phase.GRAPH)]
    assert take(workspace) == [Result.DONE]
    assert phase(workspace) == Phase.GRAPH
    entry = history(workspace.index, mailbox_id(workspace))[-1]
    assert (entry.actor, entry.reason) == ("policy", "2 clean parities in a row, the last perfect")


def test_waves_move_one_after_the_other(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot", "everyone"], clean_parities=1, alex_wave="everyone")
    deliver(workspace, 1)
    read(workspace)
    assert steps(plan(workspace)) == [(KIM, Phase.SHADOW)]
    assert plan(workspace).waves[1].stopped == "the wave before it has not arrived"
    take(workspace)
    read(workspace)
    take(workspace)
    assert phase(workspace) == Phase.GRAPH
    assert steps(plan(workspace)) == [(ALEX, Phase.SHADOW)]


def test_a_wave_stops_at_the_first_poor_mailbox(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"], clean_parities=1)
    both_in_shadow(workspace)
    (extra,) = deliver(workspace, 7, address=ALEX)
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    read(workspace)
    read(workspace, ALEX)
    made = plan(workspace)
    assert (made.steps, made.waves[0].stopped) == ([], f"{ALEX} is poor")


def test_no_more_than_at_once_move_in_one_go(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"], at_once=1)
    assert steps(plan(workspace)) == [(KIM, Phase.SHADOW)]


def test_mailboxes_move_within_their_hours_only(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"], hours="20:00-06:00")
    assert workspace.clock.now().hour == 10
    made = plan(workspace)
    assert (made.steps, made.waves[0].stopped) == ([], "mailboxes move between 20:00-06:00 UTC")
    assert len(plan(workspace, any_hour=True).steps) == 2
    workspace.clock.sleep(14 * 3600)
    assert len(plan(workspace).steps) == 2


def test_a_person_can_pause_a_wave_and_take_a_mailbox_over(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"])
    word = Hold(workspace.clock.now(), "Kim", "quarter's end")
    assert hold_wave(workspace.index, "pilot", word)
    assert not hold_wave(workspace.index, "pilot", word)
    assert plan(workspace).waves[0].stopped == "paused by Kim: quarter's end"
    assert release_wave(workspace.index, "pilot")
    assert not release_wave(workspace.index, "pilot")
    assert hold_mailbox(workspace.index, KIM, word)
    assert not hold_mailbox(workspace.index, KIM, word)
    assert steps(plan(workspace)) == [(ALEX, Phase.SHADOW)]
    assert plan(workspace).waves[0].skipped == [KIM]
    assert release_mailbox(workspace.index, KIM)
    assert not release_mailbox(workspace.index, KIM)
    assert len(plan(workspace).steps) == 2


def test_a_mailbox_that_graph_fails_goes_back_by_itself(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"], clean_parities=1, rollback_after=3)
    both_in_shadow(workspace, parities=1)
    assert take(workspace) == [Result.DONE, Result.DONE]

    def drop(protocol: ProtocolName, _command: str) -> None:
        if protocol is GRAPH:
            raise ConnectionLostError("reset")

    workspace.model.before = drop
    for _ in range(3):
        assert plan(workspace).steps == []
        read_mailbox(workspace, workspace.config.mailbox(KIM))
    assert steps(plan(workspace)) == [(KIM, Phase.LEGACY)]
    assert take(workspace) == [Result.DONE]
    entry = history(workspace.index, mailbox_id(workspace))[-1]
    assert entry.reason == "Graph has failed 3 passes in a row"
    deliver(workspace, 9)
    assert read(workspace).messages == 1


def test_failure_is_contained_one_mailbox_does_not_stop_its_wave(reopen: Opener) -> None:
    workspace = reopen(waves=["pilot"])
    made = plan(workspace)

    def drop_once(protocol: ProtocolName, _command: str) -> None:
        workspace.model.before = lambda _protocol, _command: None
        raise ConnectionLostError("reset")

    workspace.model.before = drop_once
    outcomes = carry_out(workspace, made.steps)
    assert [(each.result, each.why) for each in outcomes] == [
        (Result.FAILED, "reset"),
        (Result.DONE, "legacy → shadow"),
    ]
