"""The switch in both directions: proven before, journalled, no gap and no overlap."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.cutover.parity import Grade, Kind
from pipelines.cutover.passes import read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Result, switch
from pipelines.errors import ConnectionLostError, LakeMismatchError, MailboxRefusedError, UsageError
from pipelines.index.journal import history
from pipelines.index.parity import Acceptance, accept
from pipelines.ingest.report import Outcome
from pipelines.ingest.verify import verify
from pipelines.sources.base import Entry, FetchFailed, ProtocolName
from tests import index_fixture
from tests.cutover.conftest import Opener
from tests.cutover.steps import (
    GRAPH,
    IMAP,
    assert_sound,
    deliver,
    evidence,
    mailbox_id,
    move,
    parity,
    phase,
    read,
)
from tests.ingest.conftest import rows
from tests.ingest.model import ALEX, KIM, mail
from tests.tenant_model import TenantWorkspace

pytestmark = pytest.mark.both_indexes


def in_shadow(workspace: TenantWorkspace, count: int = 6, address: str = KIM) -> None:
    """Mail read by the legacy protocol, and compared once with Graph."""
    deliver(workspace, *range(count), address=address)
    read(workspace, address)
    assert move(workspace, Phase.SHADOW, address).result is Result.DONE
    read(workspace, address)


def test_a_mailbox_goes_to_graph_and_no_known_body_is_downloaded(workspace: TenantWorkspace) -> None:
    in_shadow(workspace)
    workspace.model.fetched.clear()
    done = move(workspace, Phase.GRAPH)
    assert (done.result, done.why) == (Result.DONE, "shadow → graph")
    assert done.parity
    assert done.parity.grade == Grade.PERFECT
    read(workspace)
    assert workspace.model.fetched == []
    assert evidence(workspace, GRAPH) == ["listing"] * 6
    assert len(rows(workspace, "messages")) == 6
    assert_sound(workspace)


def test_nothing_lost_what_comes_while_it_is_moved_is_stored_once(workspace: TenantWorkspace) -> None:
    in_shadow(workspace)
    deliver(workspace, 10)
    move(workspace, Phase.GRAPH)
    deliver(workspace, 11)
    read(workspace)
    deliver(workspace, 12)
    read(workspace)
    assert len(rows(workspace, "messages")) == 9
    assert_sound(workspace)


def test_a_shadow_feeds_nothing_of_what_only_graph_shows(workspace: TenantWorkspace) -> None:
    deliver(workspace, 1, address=ALEX)
    deliver(workspace, 2, 3, folder="Projects", address=ALEX)
    read(workspace, ALEX)
    move(workspace, Phase.SHADOW, ALEX)
    report = read(workspace, ALEX)
    assert len(rows(workspace, "messages")) == 1
    assert report.parity
    assert (report.parity.grade, report.parity.counts["newly_covered"]) == (Grade.PERFECT, 2)
    move(workspace, Phase.GRAPH, ALEX)
    read(workspace, ALEX)
    assert len(rows(workspace, "messages")) == 3, "Graph feeds now, and what it alone shows comes in"
    assert_sound(workspace, ALEX)


def test_nothing_lost_a_message_that_graph_lacks_refuses_the_switch(workspace: TenantWorkspace) -> None:
    in_shadow(workspace, 2)
    (extra,) = deliver(workspace, 7)
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    refused = move(workspace, Phase.GRAPH)
    assert refused.result is Result.REFUSED
    assert refused.parity
    assert refused.parity.grade == Grade.POOR
    assert "Graph lacks 1 messages of imap, such as 7@contoso.com" in refused.why
    assert phase(workspace) == Phase.SHADOW
    (difference,) = parity(workspace).differences
    assert (difference.kind, difference.message_id) == (Kind.MISSING_IN_GRAPH, "7@contoso.com")


def test_what_graph_cannot_deliver_has_to_be_accepted_by_name(workspace: TenantWorkspace) -> None:
    in_shadow(workspace, 2)
    (broken,) = deliver(workspace, 7)
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    workspace.model.poison[GRAPH, broken.immutable_id] = FetchFailed(
        Entry("any"), "conversion-failed", "Exchange cannot make MIME of it"
    )
    refused = move(workspace, Phase.GRAPH)
    assert refused.result is Result.REFUSED
    (difference,) = parity(workspace).differences
    assert difference.kind == Kind.GRAPH_CANNOT_DELIVER
    assert difference.item in refused.why
    word = Acceptance(difference.item, workspace.clock.now(), "a tester", "kept from IMAP")
    accept(workspace.index, mailbox_id(workspace), [word])
    done = move(workspace, Phase.GRAPH)
    assert done.result is Result.DONE
    entry = history(workspace.index, mailbox_id(workspace))[-1]
    assert (entry.grade, entry.evidence["accepted"]) == (Grade.INVESTIGATE, [difference.item])


def test_poor_cannot_be_accepted_away(workspace: TenantWorkspace) -> None:
    in_shadow(workspace, 2)
    (extra,) = deliver(workspace, 7)
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    move(workspace, Phase.GRAPH)
    (difference,) = parity(workspace).differences
    accept(
        workspace.index,
        mailbox_id(workspace),
        [Acceptance(difference.item, workspace.clock.now(), "me", "no")],
    )
    assert move(workspace, Phase.GRAPH).result is Result.REFUSED


def test_bodies_are_compared_in_full_where_that_is_wanted(reopen: Opener) -> None:
    workspace = reopen(compare="full")
    (message,) = deliver(workspace, 1)
    workspace.model.forms[GRAPH, message.sha256] = mail(1, "The figures are attached. (converted)")
    read(workspace)
    move(workspace, Phase.SHADOW)
    report = read(workspace)
    assert report.parity
    assert report.parity.grade == Grade.GOOD
    (difference,) = report.parity.differences
    assert difference.kind == Kind.WEAK
    assert evidence(workspace, GRAPH) == ["weak"]
    assert len(rows(workspace, "messages")) == 1
    workspace.model.fetched.clear()
    read(workspace)
    assert workspace.model.fetched == [], "once compared is enough"
    assert move(workspace, Phase.GRAPH).result is Result.DONE
    assert_sound(workspace)


def test_rollback_goes_on_from_the_kept_cursor_and_links_what_graph_brought(
    workspace: TenantWorkspace,
) -> None:
    in_shadow(workspace)
    move(workspace, Phase.GRAPH)
    deliver(workspace, 10, 11)
    read(workspace)
    workspace.model.fetched.clear()
    assert move(workspace, Phase.LEGACY).result is Result.DONE
    deliver(workspace, 12)
    report = read(workspace)
    assert [protocol for protocol, _ in workspace.model.fetched] == [IMAP], "the new one alone"
    assert report.protocol == IMAP
    assert len(rows(workspace, "messages")) == 9
    assert_sound(workspace)


def test_there_and_back_and_there_again_is_one_row_per_message(workspace: TenantWorkspace) -> None:
    in_shadow(workspace)
    for number, to in enumerate((Phase.GRAPH, Phase.SHADOW, Phase.GRAPH, Phase.LEGACY, Phase.SHADOW)):
        deliver(workspace, 20 + number)
        assert move(workspace, to).result is Result.DONE, to
        deliver(workspace, 30 + number)
        read(workspace)
    assert len(rows(workspace, "messages")) == 16
    assert parity(workspace).grade == Grade.PERFECT
    assert_sound(workspace)


def test_the_legacy_view_is_compared_for_some_days_after_the_switch(reopen: Opener) -> None:
    workspace = reopen(trailing_days=2)
    in_shadow(workspace)
    move(workspace, Phase.GRAPH)
    deliver(workspace, 10)
    report = read(workspace)
    assert report.parity
    assert report.parity.grade == Grade.PERFECT
    (extra,) = deliver(workspace, 11)
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    report = read(workspace)
    assert report.parity
    assert report.parity.grade == Grade.POOR
    assert len(rows(workspace, "messages")) == 7, "the compared protocol feeds nothing"
    workspace.clock.sleep(2 * 86400)
    assert read(workspace).parity is None


def test_repeating_a_command_changes_nothing_and_says_so(workspace: TenantWorkspace) -> None:
    in_shadow(workspace)
    again = move(workspace, Phase.SHADOW)
    assert (again.result, again.why) == (Result.UNCHANGED, "it is in phase shadow already")
    assert len(history(workspace.index, mailbox_id(workspace))) == 1


def test_graph_is_not_reached_without_a_shadow(workspace: TenantWorkspace) -> None:
    refused = move(workspace, Phase.GRAPH)
    assert refused.result is Result.REFUSED
    assert "--to shadow" in refused.why


def test_a_dry_run_proves_everything_and_changes_nothing(workspace: TenantWorkspace) -> None:
    in_shadow(workspace)
    would = move(workspace, Phase.GRAPH, dry_run=True)
    assert would.result is Result.WOULD
    assert would.parity
    assert phase(workspace) == Phase.SHADOW


def test_a_mailbox_that_graph_refuses_stays_where_it_is(workspace: TenantWorkspace) -> None:
    def refuse(protocol: ProtocolName, _command: str) -> None:
        if protocol is GRAPH:
            raise MailboxRefusedError(f"{KIM}: Mail.Read is missing")

    workspace.model.before = refuse
    with pytest.raises(MailboxRefusedError):
        move(workspace, Phase.SHADOW)
    assert phase(workspace) == Phase.LEGACY


def test_failure_is_contained_graph_failing_in_a_shadow_does_not_stop_the_feed(
    workspace: TenantWorkspace,
) -> None:
    in_shadow(workspace)
    deliver(workspace, 10)

    def drop(protocol: ProtocolName, _command: str) -> None:
        if protocol is GRAPH:
            raise ConnectionLostError("reset")

    workspace.model.before = drop
    report = read(workspace)
    assert report.outcome is Outcome.ATTENTION
    assert list(report.compare_errors) == [""]
    assert len(rows(workspace, "messages")) == 7


def test_a_mailbox_without_a_legacy_protocol_has_nowhere_to_go_back_to(workspace: TenantWorkspace) -> None:
    mailbox = workspace.config.mailbox(KIM).model_copy(update={"legacy": None})
    with pytest.raises(UsageError, match="no legacy protocol"):
        switch(workspace, mailbox, Order(Phase.LEGACY, "a tester", "why not"))


def test_bytes_are_kept_a_lost_index_gets_phase_and_journal_back_from_the_lake(
    tmp_path: Path, reopen: Opener
) -> None:
    workspace = reopen()
    in_shadow(workspace)
    move(workspace, Phase.GRAPH)
    workspace.close()
    workspace = lose_index(tmp_path, reopen)
    verify(workspace, KIM)
    assert phase(workspace) == Phase.GRAPH
    assert [(each.phase_from, each.phase_to) for each in history(workspace.index, mailbox_id(workspace))] == [
        ("legacy", "shadow"),
        ("shadow", "graph"),
    ]
    assert len(rows(workspace, "messages")) == 6


def lose_index(tmp_path: Path, reopen: Opener) -> TenantWorkspace:
    """A new index in place of the one there was."""
    index_fixture.lose_index(tmp_path)
    return reopen()


def test_a_phase_outlives_the_index_of_a_mailbox_without_mail(tmp_path: Path, reopen: Opener) -> None:
    workspace = reopen()
    move(workspace, Phase.SHADOW)
    workspace.close()
    workspace = lose_index(tmp_path, reopen)
    report = read_mailbox(workspace, workspace.config.mailbox(KIM))
    assert isinstance(report.error, LakeMismatchError)
    verify(workspace, KIM)
    assert phase(workspace) == Phase.SHADOW


def test_no_phase_is_changed_on_an_index_that_was_lost(tmp_path: Path, reopen: Opener) -> None:
    workspace = reopen()
    in_shadow(workspace)
    move(workspace, Phase.GRAPH)
    workspace.close()
    workspace = lose_index(tmp_path, reopen)
    with pytest.raises(LakeMismatchError):
        move(workspace, Phase.SHADOW)
    verify(workspace, KIM)
    assert phase(workspace) == Phase.GRAPH


def test_parity_is_a_dataset_in_the_lake(workspace: TenantWorkspace) -> None:
    in_shadow(workspace, 2)
    (extra,) = deliver(workspace, 7)
    workspace.model.hidden.add((GRAPH, extra.immutable_id))
    read(workspace)
    (row,) = rows(workspace, "parity")
    assert (row["grade"], row["kind"], row["message_id"]) == ("poor", "missing-in-graph", "7@contoso.com")
    workspace.model.hidden.clear()
    workspace.model.store.set_flags(KIM, "Inbox", extra.uid, frozenset({"seen"}))
    read(workspace)
    assert rows(workspace, "parity") == []
