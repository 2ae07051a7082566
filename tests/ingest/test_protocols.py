"""One mailbox through several protocols: linked where it is known, kept apart where it differs."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.config import MailboxConfig
from pipelines.errors import UsageError
from pipelines.index.changes import Changes
from pipelines.index.commit import commit
from pipelines.index.engine import Index
from pipelines.index.lease import Lease, hold
from pipelines.index.quarantine import entries
from pipelines.index.status import status
from pipelines.index.tables import folders, mailboxes, messages, occurrences, raws, unmatched
from pipelines.ingest.backfill import backfill
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.compaction import compact
from pipelines.ingest.passes import MailboxPass, ingest_mailbox
from pipelines.ingest.quarantine import AcceptedForm, accept, retry
from pipelines.ingest.report import BackfillReport, MailboxReport, Outcome
from pipelines.ingest.span import Span
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.verify import verify
from pipelines.lake import tiers
from pipelines.mime import NORMALISER_VERSION, normalise
from pipelines.sandbox.store import Message
from pipelines.sources.base import Entry, FetchFailed, Folder, Page, ProtocolName, Reset
from tests.index_fixture import lose_index
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, VirtualClock, configure, mail
from tests.tenant_model import TenantModel, TenantWorkspace, model_tenant
from tests.tenant_sources import SOURCES, GraphModelSource

pytestmark = pytest.mark.both_indexes

GRAPH, IMAP, POP3 = ProtocolName.GRAPH, ProtocolName.IMAP, ProtocolName.POP3
Opener = Callable[..., TenantWorkspace]


@pytest.fixture
def model(tmp_path: Path, clock: VirtualClock) -> Iterator[TenantModel]:
    tenant = model_tenant(tmp_path / "tenant", clock, KIM)
    yield tenant
    tenant.store.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def reopen(tmp_path: Path, model: TenantModel, clock: VirtualClock) -> Iterator[Opener]:
    opened: list[TenantWorkspace] = []

    def opener() -> TenantWorkspace:
        opened.append(TenantWorkspace(configure(tmp_path, KIM), model, clock))
        return opened[-1]

    yield opener
    for workspace in opened:
        workspace.close()


@pytest.fixture
def workspace(reopen: Opener) -> TenantWorkspace:
    return reopen()


def ingest(workspace: TenantWorkspace, *, by: ProtocolName = IMAP) -> MailboxReport:
    """A pass by one protocol, an hour after the last; nothing that was listed may be left undone."""
    mailbox = feed_by(workspace, by)
    workspace.model.fetched.clear()
    workspace.clock.sleep(3600)
    report = ingest_mailbox(workspace, mailbox)
    workspace.clock.sleep(3600)
    return report


def flip(workspace: TenantWorkspace, to: ProtocolName) -> None:
    with workspace.index.write() as connection:
        connection.execute(sa.update(mailboxes).values(phase="graph" if to is GRAPH else "legacy"))


def feed_by(workspace: TenantWorkspace, by: ProtocolName) -> MailboxConfig:
    """Let one protocol feed the lake."""
    flip(workspace, by)
    mailbox = workspace.config.mailbox(KIM)
    return mailbox.model_copy(update={"legacy": "pop3"}) if by is POP3 else mailbox


def deliver(workspace: TenantWorkspace, *numbers: int, folder: str = "Inbox") -> list[Message]:
    moment = workspace.clock.now()
    return [
        workspace.model.store.deliver(KIM, folder, mail(each), moment - timedelta(minutes=each))
        for each in numbers
    ]


def evidence(workspace: TenantWorkspace, protocol: ProtocolName) -> list[str]:
    """Why each live occurrence of a protocol is taken for its message."""
    with workspace.index.read() as connection:
        return sorted(
            connection.scalars(
                sa.select(occurrences.c.evidence)
                .join(folders, folders.c.id == occurrences.c.folder_id)
                .where(folders.c.protocol == protocol, occurrences.c.removed_at.is_(None))
            )
        )


def assert_sound(workspace: TenantWorkspace) -> None:
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, KIM)
        assert result.passed, (check.__name__, result.summary)


@pytest.mark.parametrize("compared", [False, True])
def test_bounded_memory_what_needs_no_body_is_written_in_batches_too(
    workspace: TenantWorkspace, monkeypatch: pytest.MonkeyPatch, compared: bool
) -> None:
    deliver(workspace, *range(20))
    ingest(workspace)
    if compared:
        deliver(workspace, *range(20, 40))
    held: list[int] = []

    def watched(index: Index, lease: Lease, changes: Changes, now: datetime) -> None:
        held.append(len(changes.occurrences) + len(changes.unmatched))
        commit(index, lease, changes, now)

    monkeypatch.setattr("pipelines.ingest.batch.MAX_MESSAGES", 4)
    monkeypatch.setattr("pipelines.ingest.batch.commit", watched)
    if compared:
        with hold(workspace.index, KIM, workspace.clock) as lease:
            MailboxPass(workspace, workspace.config.mailbox(KIM), lease, MailboxReport(KIM, IMAP)).compare(
                GRAPH, 0.0
            )
    else:
        ingest(workspace, by=GRAPH)
    assert (sum(held), max(held)) == (40 if compared else 20, 4)


@pytest.mark.parametrize("first", [IMAP, POP3])
def test_nothing_twice_graph_downloads_nothing_that_the_legacy_protocol_brought(
    workspace: TenantWorkspace, first: ProtocolName
) -> None:
    deliver(workspace, *range(7))
    ingest(workspace, by=first)
    report = ingest(workspace, by=GRAPH)
    assert workspace.model.fetched == []
    assert (report.rounds[0].listed, report.rounds[0].known) == (7, 7)
    assert evidence(workspace, GRAPH) == ["listing"] * 7
    assert len(rows(workspace, "messages")) == 7
    assert_sound(workspace)


def test_nothing_twice_back_on_imap_what_came_by_graph_is_one_message(workspace: TenantWorkspace) -> None:
    deliver(workspace, 1, 2)
    ingest(workspace)
    ingest(workspace, by=GRAPH)
    deliver(workspace, 3)
    ingest(workspace, by=GRAPH)
    assert len(workspace.model.fetched) == 1
    assert len(rows(workspace, "messages")) == 3
    ingest(workspace)
    assert len(rows(workspace, "messages")) == 3
    assert evidence(workspace, IMAP) == ["bytes", "bytes", "listing"]
    assert workspace.model.fetched == [], "what came by Graph is linked, not downloaded again"
    assert_sound(workspace)


def test_nothing_lost_an_edit_after_the_last_legacy_pass_is_downloaded_by_graph(
    workspace: TenantWorkspace,
) -> None:
    deliver(workspace, 1, 2, 3)
    ingest(workspace)
    # Same length, same headers: only the time of the change tells.
    workspace.model.store.edit(KIM, "Inbox", 2, mail(2, "The figures are replaced."))
    ingest(workspace, by=GRAPH)
    assert len(workspace.model.fetched) == 1
    texts = {str(row["text"]).strip() for row in rows(workspace, "messages")}
    assert texts == {"The figures are attached.", "The figures are replaced."}
    assert_sound(workspace)


def test_nothing_lost_an_edit_that_graph_shows_is_a_new_row_and_the_old_one_stays(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    workspace.model.store.edit(KIM, "Inbox", message.uid, mail(1, "We have changed our mind."))
    report = ingest(workspace, by=GRAPH)
    assert (report.rounds[0].listed, report.rounds[0].stored) == (1, 1)
    assert len(rows(workspace, "messages")) == 2
    assert status(workspace.index, [KIM], workspace.clock.now())[0].occurrences == 1
    assert ingest(workspace, by=GRAPH).rounds[0].listed == 0
    assert_sound(workspace)


def test_a_changed_flag_downloads_nothing(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    workspace.model.store.set_flags(KIM, "Inbox", message.uid, frozenset({"seen"}))
    assert ingest(workspace, by=GRAPH).rounds[0].known == 1
    assert workspace.model.fetched == []


def test_nothing_twice_a_message_that_moves_is_followed_by_its_id(workspace: TenantWorkspace) -> None:
    (message, _) = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    workspace.model.store.move(KIM, "Inbox", message.uid, "Projects")
    ingest(workspace, by=GRAPH)
    assert workspace.model.fetched == []
    assert evidence(workspace, GRAPH) == ["bytes", "id"]
    assert len(rows(workspace, "messages")) == 2
    assert_sound(workspace)


def test_nothing_lost_a_message_edited_while_it_moved_is_downloaded(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    moved = workspace.model.store.move(KIM, "Inbox", message.uid, "Projects")
    workspace.model.store.edit(KIM, "Projects", moved.uid, mail(1, "Moved and changed."))
    ingest(workspace, by=GRAPH)
    assert len(rows(workspace, "messages")) == 2
    assert_sound(workspace)


def test_nothing_lost_a_to_b_to_a_is_found_although_delta_never_tells(workspace: TenantWorkspace) -> None:
    (message, _) = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    moved = workspace.model.store.move(KIM, "Inbox", message.uid, "Projects")
    workspace.model.store.move(KIM, "Projects", moved.uid, "Inbox")
    report = ingest(workspace, by=GRAPH)
    assert report.rounds[0].notes == ["1 found by the id listing"]
    assert workspace.model.fetched == []
    assert evidence(workspace, GRAPH) == ["bytes", "bytes"]
    assert_sound(workspace)


def test_a_removal_that_graph_reports_ends_the_occurrence_and_keeps_the_data(
    workspace: TenantWorkspace,
) -> None:
    (message, _) = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    workspace.model.store.delete(KIM, "Inbox", message.uid)
    assert ingest(workspace, by=GRAPH).rounds[0].notes == [], "the delta told it, no listing was needed"
    assert evidence(workspace, GRAPH) == ["bytes"]
    assert len(rows(workspace, "messages")) == 2
    assert_sound(workspace)


def test_nothing_twice_after_a_lost_delta_state_everything_is_matched(workspace: TenantWorkspace) -> None:
    deliver(workspace, *range(6))
    ingest(workspace, by=GRAPH)
    workspace.model.delta_lost_before = 10**9
    report = ingest(workspace, by=GRAPH)
    assert "listed from the beginning: the sync state is gone" in report.rounds[0].notes
    assert (report.rounds[0].listed, report.rounds[0].known) == (6, 6)
    assert workspace.model.fetched == []


def weakly_matched(workspace: TenantWorkspace) -> Message:
    """A message that came by IMAP, and by Graph with another body and two seconds later."""
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    ingest(workspace)
    ingest(workspace, by=GRAPH)
    (message,) = deliver(workspace, 1)
    workspace.model.forms[GRAPH, message.sha256] = mail(1, "The figures are attached. (converted)")
    ingest(workspace)
    ingest(workspace, by=GRAPH)
    return message


def test_a_weak_match_is_one_message_and_both_bytes_are_kept(workspace: TenantWorkspace) -> None:
    weakly_matched(workspace)
    assert evidence(workspace, GRAPH) == ["weak"]
    (row,) = rows(workspace, "messages")
    assert str(row["text"]).strip() == "The figures are attached."
    found = rows(workspace, "raw")
    assert [(each["message_key"] == row["message_key"], each["weak"]) for each in found] == [
        (True, False),
        (True, True),
    ]
    assert_sound(workspace)


def test_never_merged_silently_within_one_protocol_two_contents_are_two_messages(
    workspace: TenantWorkspace,
) -> None:
    message = weakly_matched(workspace)
    workspace.model.store.deliver(KIM, "Projects", mail(1, "A third form."), message.received_at)
    ingest(workspace, by=GRAPH)
    assert len(rows(workspace, "messages")) == 2
    assert evidence(workspace, GRAPH) == ["bytes", "weak"]


def test_never_merged_silently_a_weak_match_needs_exactly_one_on_each_side(
    workspace: TenantWorkspace,
) -> None:
    ingest(workspace)
    ingest(workspace, by=GRAPH)
    for body in ("One.", "Two."):
        workspace.model.store.deliver(KIM, "Inbox", mail(1, body))
    ingest(workspace)
    for message in workspace.model.store.listing(KIM, "Inbox"):
        form = mail(1, f"Another form of {message.uid}.")
        workspace.model.forms[GRAPH, message.sha256] = form
    ingest(workspace, by=GRAPH)
    assert len(rows(workspace, "messages")) == 4
    assert evidence(workspace, GRAPH) == ["bytes", "bytes"]


def test_never_merged_silently_a_draft_is_no_form_of_another(workspace: TenantWorkspace) -> None:
    ingest(workspace)
    ingest(workspace, by=GRAPH)
    (message,) = deliver(workspace, 1, folder="Drafts")
    ingest(workspace)
    workspace.model.store.edit(KIM, "Drafts", message.uid, mail(1, "We pay 900 euros."))
    ingest(workspace, by=GRAPH)
    assert len(rows(workspace, "messages")) == 2


def test_bytes_are_kept_a_weak_match_survives_renormalising(workspace: TenantWorkspace) -> None:
    weakly_matched(workspace)
    (report,) = run_stage(workspace, Stage.MESSAGES, list(workspace.config.mailboxes))
    assert report.messages == 1
    assert len(rows(workspace, "messages")) == 1
    assert_sound(workspace)
    assert verify(workspace, KIM).repaired == []


def test_nothing_twice_what_had_no_match_is_compared_anew_by_a_newer_normaliser(
    workspace: TenantWorkspace,
) -> None:
    deliver(workspace, 1)
    ingest(workspace)
    nameless = b"From: lee@contoso.com\r\nSubject: nameless\r\n\r\nNo Message-ID.\r\n"
    workspace.model.store.deliver(KIM, "Inbox", nameless, workspace.clock.now())

    def compare() -> list[str | None]:
        with hold(workspace.index, KIM, workspace.clock) as lease:
            one = MailboxPass(workspace, workspace.config.mailbox(KIM), lease, MailboxReport(KIM, IMAP))
            one.compare(GRAPH, 0.0)
        with workspace.index.read() as connection:
            return list(connection.scalars(sa.select(unmatched.c.own_key)))

    assert compare() == [normalise(nameless).message_key]
    with workspace.index.write() as connection:
        connection.execute(sa.update(unmatched).values(own_key="0" * 40))
        connection.execute(sa.update(messages).values(normaliser_version=NORMALISER_VERSION - 1))
    assert ingest(workspace).messages == 1
    assert compare() == []
    assert_sound(workspace)


def test_bytes_are_kept_a_weak_match_survives_merging_files(
    workspace: TenantWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "FAN_IN", 2)
    weakly_matched(workspace)
    assert compact(workspace, KIM).merged == 2
    assert [each["weak"] for each in rows(workspace, "raw")] == [False, True]
    assert_sound(workspace)
    for stage in (Stage.MESSAGES, Stage.MESSAGE_INDEX):
        (report,) = run_stage(workspace, stage, list(workspace.config.mailboxes))
        assert report.outcome is Outcome.DONE
        assert len(rows(workspace, "messages")) == 1
    assert verify(workspace, KIM).repaired == []


def test_bytes_are_kept_a_weak_match_survives_the_loss_of_the_index(tmp_path: Path, reopen: Opener) -> None:
    weakly_matched(reopen())
    lose_index(tmp_path)
    workspace = reopen()
    assert verify(workspace, KIM).damage == []
    assert len(rows(workspace, "messages")) == 1
    with workspace.index.read() as connection:
        assert sorted(connection.scalars(sa.select(raws.c.weak))) == [False, True]
    ingest(workspace, by=GRAPH)
    assert len(rows(workspace, "messages")) == 1
    assert len(rows(workspace, "raw")) == 2


def test_an_edited_message_that_cannot_be_had_is_quarantined_until_it_can(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    workspace.model.store.edit(KIM, "Inbox", message.uid, mail(1, "Not to be converted."))
    failed = FetchFailed(Entry("any"), "conversion-failed", "Exchange cannot convert it")
    workspace.model.poison[GRAPH, message.immutable_id] = failed
    report = ingest(workspace, by=GRAPH)
    assert report.outcome is Outcome.ATTENTION
    assert report.rounds[0].server_count == report.rounds[0].lake_count == 1
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert (state.occurrences, state.quarantine) == (0, 1)
    workspace.model.poison.clear()
    workspace.clock.sleep(86400)
    ingest(workspace, by=GRAPH)
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert (state.messages, state.occurrences, state.quarantine) == (2, 1, 0)
    assert_sound(workspace)


def test_nothing_lost_an_edit_made_while_the_index_was_lost_is_downloaded(
    tmp_path: Path, reopen: Opener
) -> None:
    workspace = reopen()
    (message, _) = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    workspace.close()
    lose_index(tmp_path)
    workspace = reopen()
    verify(workspace, KIM)
    workspace.model.store.edit(KIM, "Inbox", message.uid, mail(1, "Edited while the index was lost."))
    ingest(workspace, by=GRAPH)
    assert len(workspace.model.fetched) == 1
    assert len(rows(workspace, "messages")) == 3
    assert_sound(workspace)


def run_backfill(workspace: TenantWorkspace, *, by: ProtocolName) -> BackfillReport:
    """All that was received in the last three months, through one protocol."""
    mailbox = feed_by(workspace, by)
    return backfill(workspace, mailbox, last_months(workspace))


def last_months(workspace: TenantWorkspace) -> Span:
    now = workspace.clock.now()
    return Span(now - timedelta(days=90), now + timedelta(hours=1))


@pytest.mark.parametrize(("first", "then"), [(IMAP, GRAPH), (GRAPH, IMAP), (POP3, GRAPH)])
def test_nothing_twice_a_backfill_downloads_nothing_that_another_protocol_brought(
    workspace: TenantWorkspace, first: ProtocolName, then: ProtocolName
) -> None:
    deliver(workspace, *range(7))
    ingest(workspace, by=first)
    workspace.model.fetched.clear()
    report = run_backfill(workspace, by=then)
    assert report.outcome is Outcome.DONE
    assert workspace.model.fetched == []
    assert (report.total("listed"), report.total("known")) == (7, 7)
    assert_sound(workspace)


@pytest.mark.parametrize("protocol", [IMAP, GRAPH])
def test_nothing_twice_a_round_and_a_backfill_of_one_protocol_know_each_others_ids(
    workspace: TenantWorkspace, protocol: ProtocolName
) -> None:
    deliver(workspace, *range(7))
    assert run_backfill(workspace, by=protocol).messages == 7
    ingest(workspace, by=protocol)
    assert workspace.model.fetched == []
    assert run_backfill(workspace, by=protocol).total("known") == 7
    assert workspace.model.fetched == []
    assert_sound(workspace)


def test_nothing_lost_a_backfill_by_graph_sees_what_was_edited_under_a_known_id(
    workspace: TenantWorkspace,
) -> None:
    first, _ = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    edited = mail(1).replace(b"are attached", b"are not attached")
    workspace.model.store.edit(KIM, "Inbox", first.uid, edited)
    assert run_backfill(workspace, by=GRAPH).messages == 1
    assert len(rows(workspace, "messages")) == 3


def test_a_backfill_stops_where_another_protocol_feeds_the_lake_now(workspace: TenantWorkspace) -> None:
    deliver(workspace, *range(3))
    workspace.clock.sleep(60)
    mailbox, span = feed_by(workspace, IMAP), last_months(workspace)
    report = backfill(workspace, mailbox, span, month_done=lambda _month: flip(workspace, GRAPH))
    assert report.outcome is Outcome.FAILED
    assert "graph feeds the lake since the backfill began" in str(report.error)
    workspace.model.fetched.clear()
    assert backfill(workspace, mailbox, span).outcome is Outcome.DONE
    assert workspace.model.fetched == []
    assert_sound(workspace)


def test_a_backfill_by_pop3_says_why_it_cannot(workspace: TenantWorkspace) -> None:
    report = run_backfill(workspace, by=POP3)
    assert report.outcome is Outcome.FAILED
    assert isinstance(report.error, UsageError)


def unconvertible(message: Message, form: bytes) -> FetchFailed:
    """Graph cannot make MIME of the message, and what it makes instead."""
    told = "Exchange cannot make MIME of the message"
    entry = Entry(message.immutable_id)
    return FetchFailed(entry, "conversion-failed", told, fallback=form, fidelity="graph-json")


def accept_all(workspace: TenantWorkspace) -> list[AcceptedForm]:
    with workspace.index.read() as connection:
        ids = [each.entry_id for each in entries(connection, [KIM])]
    return accept(workspace, workspace.config.mailboxes, ids, "pat", "it will do")


def fidelities(workspace: TenantWorkspace) -> list[str]:
    return sorted(str(row["fidelity"]) for row in rows(workspace, "messages"))


def test_nothing_twice_what_a_legacy_protocol_brings_takes_the_place_of_an_accepted_form(
    workspace: TenantWorkspace,
) -> None:
    message, _other = deliver(workspace, 1, 2)
    form = mail(1, "As JSON tells it.")
    workspace.model.poison[GRAPH, message.immutable_id] = unconvertible(message, form)
    ingest(workspace, by=GRAPH)
    accept_all(workspace)
    assert fidelities(workspace) == ["graph-json", "mime"]
    ingest(workspace, by=IMAP)
    assert fidelities(workspace) == ["mime", "mime"]
    assert len(workspace.model.fetched) == 1, "the form is no reason not to fetch it"
    assert len(rows(workspace, "raw")) == 3
    assert evidence(workspace, GRAPH) == ["bytes", "weak"]
    assert_sound(workspace)
    ingest(workspace, by=GRAPH)
    assert verify(workspace, KIM).repaired == []
    assert_sound(workspace)


def test_nothing_twice_a_protocol_that_is_compared_replaces_an_accepted_form_too(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    workspace.model.poison[GRAPH, message.immutable_id] = unconvertible(message, mail(1, "As JSON tells it."))
    ingest(workspace, by=GRAPH)
    accept_all(workspace)
    kim = workspace.config.mailbox(KIM)
    with hold(workspace.index, KIM, workspace.clock) as lease:
        report = MailboxReport(KIM, GRAPH)
        one = MailboxPass(workspace, kim, lease, report)
        one.compare(IMAP, 0.0)
        # Whether it is alone of its kind is known once all folders were looked at.
        one.compare(IMAP, 0.0)
    assert report.compare_errors == {}
    with workspace.index.read() as connection:
        assert connection.execute(sa.select(unmatched)).all() == []
    assert fidelities(workspace) == ["mime"]
    assert (evidence(workspace, GRAPH), evidence(workspace, IMAP)) == (["weak"], ["bytes"])


def test_an_accepted_form_of_what_another_protocol_brought_is_its_weak_match(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=POP3)
    workspace.model.poison[GRAPH, message.immutable_id] = unconvertible(message, mail(1, "As JSON tells it."))
    workspace.model.store.set_flags(KIM, "Inbox", message.uid, frozenset({"seen"}))
    ingest(workspace, by=GRAPH)
    accept_all(workspace)
    assert fidelities(workspace) == ["mime"]
    assert len(rows(workspace, "raw")) == 2
    assert evidence(workspace, GRAPH) == ["weak"]
    assert_sound(workspace)


def test_an_edit_that_cannot_be_had_can_be_accepted_beside_what_it_was(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    workspace.model.store.edit(KIM, "Inbox", message.uid, mail(1, "Edited."))
    workspace.model.poison[GRAPH, message.immutable_id] = unconvertible(message, mail(1, "As JSON tells it."))
    assert ingest(workspace, by=GRAPH).rounds[0].quarantined == 1
    (accepted,) = accept_all(workspace)
    assert fidelities(workspace) == ["graph-json", "mime"]
    report = ingest(workspace, by=GRAPH)
    assert (report.outcome, report.rounds[0].listed) == (Outcome.DONE, 0)
    assert_sound(workspace)
    workspace.model.poison.clear()
    retry(workspace, workspace.config.mailboxes, [accepted.entry.entry_id])
    assert fidelities(workspace) == ["mime", "mime"]
    assert sorted(str(row["text"]).strip() for row in rows(workspace, "messages")) == [
        "Edited.",
        "The figures are attached.",
    ]
    assert_sound(workspace)


def test_nothing_twice_an_accepted_message_is_followed_when_it_moves(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    workspace.model.poison[GRAPH, message.immutable_id] = unconvertible(message, mail(1, "As JSON tells it."))
    ingest(workspace, by=GRAPH)
    accept_all(workspace)
    workspace.model.store.move(KIM, "Inbox", message.uid, "Projects")
    report = ingest(workspace, by=GRAPH)
    assert (report.outcome, report.total("quarantined")) == (Outcome.DONE, 0)
    assert fidelities(workspace) == ["graph-json"]
    assert evidence(workspace, GRAPH) == ["id"]
    assert_sound(workspace)
    workspace.model.poison.clear()
    workspace.clock.sleep(86400)
    ingest(workspace, by=GRAPH)
    assert fidelities(workspace) == ["mime"]
    assert_sound(workspace)


def test_an_accepted_message_goes_back_and_forth_between_folders(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    store, poison = workspace.model.store, workspace.model.poison
    poison[GRAPH, message.immutable_id] = unconvertible(message, mail(1, "As JSON tells it."))
    ingest(workspace, by=GRAPH)
    message = store.move(KIM, "Inbox", message.uid, "Projects")
    ingest(workspace, by=GRAPH)
    accept_all(workspace)
    for there, back in (("Projects", "Inbox"), ("Inbox", "Projects")):
        message = store.move(KIM, there, message.uid, back)
        assert ingest(workspace, by=GRAPH).outcome is Outcome.DONE
        assert fidelities(workspace) == ["graph-json"]
        assert_sound(workspace)


def test_nothing_lost_a_loss_that_the_count_hides_is_found_by_the_daily_sweep(
    workspace: TenantWorkspace,
) -> None:
    first, second = deliver(workspace, 1, 2)
    ingest(workspace, by=GRAPH)
    store = workspace.model.store
    moved = store.move(KIM, "Inbox", first.uid, "Projects")
    store.move(KIM, "Projects", moved.uid, "Inbox")
    store.delete(KIM, "Inbox", second.uid)
    # One that the delta wrongly reports removed, and one that it does not report: the counts agree.
    workspace.model.unreported.add(second.immutable_id)
    assert ingest(workspace, by=GRAPH).rounds[0].notes == []
    workspace.clock.sleep(86400)
    assert ingest(workspace, by=GRAPH).rounds[0].notes == ["1 no longer listed", "1 found by the id listing"]
    assert workspace.model.fetched == []
    assert_sound(workspace)


def held(workspace: TenantWorkspace) -> list[str]:
    """The folders in which messages are in quarantine."""
    with workspace.index.read() as connection:
        return [each.folder for each in entries(connection, [KIM])]


NOT_TO_BE_HAD = FetchFailed(Entry("any"), "empty-answer", "listed, and answered with nothing")


def test_nothing_lost_what_moved_out_of_quarantine_is_not_asked_for_where_it_was(
    workspace: TenantWorkspace,
) -> None:
    poisoned, other = deliver(workspace, 1, 2)
    workspace.model.poison[GRAPH, poisoned.immutable_id] = NOT_TO_BE_HAD
    ingest(workspace, by=GRAPH)
    store = workspace.model.store
    store.move(KIM, "Inbox", poisoned.uid, "Projects")
    moved = store.move(KIM, "Inbox", other.uid, "Projects")
    store.move(KIM, "Projects", moved.uid, "Inbox")
    report = ingest(workspace, by=GRAPH)
    # Held in the Inbox still, it would make up for the one whose return no delta tells.
    assert report.rounds[0].notes == ["1 found by the id listing"]
    assert (held(workspace), evidence(workspace, GRAPH)) == (["Projects"], ["bytes"])
    assert_sound(workspace)


def test_nothing_lost_what_moves_away_while_it_is_listed_is_not_held_where_it_was(
    workspace: TenantWorkspace,
) -> None:
    (other,) = deliver(workspace, 2)
    ingest(workspace, by=GRAPH)
    (poisoned,) = deliver(workspace, 1)
    workspace.model.poison[GRAPH, poisoned.immutable_id] = NOT_TO_BE_HAD
    store, pages = workspace.model.store, [1, 2]
    moved = store.move(KIM, "Inbox", other.uid, "Projects")
    store.move(KIM, "Projects", moved.uid, "Inbox")

    def before(_protocol: ProtocolName, command: str) -> None:
        if command == "page" and pages and pages.pop() == 1:
            store.move(KIM, "Inbox", poisoned.uid, "Projects")

    workspace.model.before = before
    report = ingest(workspace, by=GRAPH)
    assert report.rounds[0].notes == ["1 found by the id listing"]
    assert (held(workspace), evidence(workspace, GRAPH)) == (["Projects"], ["bytes"])
    assert_sound(workspace)


def test_an_edit_that_cannot_be_had_has_one_outcome_where_a_delta_tells_it_twice(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    ingest(workspace, by=GRAPH)
    workspace.model.store.edit(KIM, "Inbox", message.uid, mail(1, "Not to be had."))
    workspace.model.poison[GRAPH, message.immutable_id] = NOT_TO_BE_HAD
    workspace.model.delta_stutters = True
    ingest(workspace, by=GRAPH)
    assert (held(workspace), evidence(workspace, GRAPH)) == (["Inbox"], [])
    assert_sound(workspace)


class RemovedAndBack(GraphModelSource):
    """Its delta tells of everything that changed that it is gone, and then that it is there."""

    def changes(self, folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        cursor = cursor or json.dumps({"since": 0})
        since = json.loads(cursor)["since"]
        changed = [each.immutable_id for each in self._live(folder).changes if each.number > since]
        yield Page((), cursor, frozenset(changed))
        yield from super().changes(folder, cursor)


def test_nothing_lost_what_a_delta_tells_removed_and_then_there_is_there(
    workspace: TenantWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, edited, marked = deliver(workspace, 1, 2, 3)
    workspace.model.poison[GRAPH, poisoned.immutable_id] = NOT_TO_BE_HAD
    ingest(workspace, by=GRAPH)
    store = workspace.model.store
    for each in (poisoned, marked):
        store.set_flags(KIM, "Inbox", each.uid, frozenset({"seen"}))
    store.edit(KIM, "Inbox", edited.uid, mail(2, "We have changed our mind."))
    monkeypatch.setitem(SOURCES, GRAPH, RemovedAndBack)
    report = ingest(workspace, by=GRAPH)
    assert report.rounds[0].notes == [], "the delta told it, no listing was needed"
    assert (held(workspace), evidence(workspace, GRAPH)) == (["Inbox"], ["bytes", "bytes"])
    assert_sound(workspace)
