"""What one protocol shows and what the other does: told apart, matched, or listed as a difference.

Each of these is a history that the simulation found (docs/simulation.md), told as shortly as it goes;
at the end stands what no history shows, how often a comparison looks.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from pipelines.config import FolderRules, IngestSettings
from pipelines.cutover.parity import Grade, Kind
from pipelines.cutover.passes import compare_now
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Result
from pipelines.errors import ConnectionLostError
from pipelines.index.tables import mailboxes
from pipelines.ingest.verify import verify
from pipelines.sandbox.store import Message
from pipelines.sources.base import Entry, FetchFailed, ProtocolName
from tests import index_fixture
from tests.cutover.conftest import Opener
from tests.cutover.steps import GRAPH, IMAP, POP3, assert_sound, deliver, evidence, move, parity, read
from tests.ingest.conftest import rows
from tests.ingest.model import ALEX, KIM, mail
from tests.tenant_model import TenantWorkspace

EMPTY = FetchFailed(Entry("any"), "empty-answer", "listed, and answered with nothing")


def other_form(workspace: TenantWorkspace, message: Message) -> None:
    """Let Graph deliver it with other content than the legacy protocols."""
    mime = workspace.model.store.read(message)
    workspace.model.forms[GRAPH, message.sha256] = mime.removesuffix(b"\r\n") + b" (converted)\r\n"


def deliver_twin(workspace: TenantWorkspace, body: str, folder: str = "Inbox") -> Message:
    """Another text under the headers of message 1, now."""
    return workspace.model.store.deliver(KIM, folder, mail(1, body), workspace.clock.now())


def hide(workspace: TenantWorkspace, protocol: ProtocolName, *some: Message) -> None:
    workspace.model.hidden |= {(protocol, each.immutable_id) for each in some}


def feed_by_graph(workspace: TenantWorkspace) -> None:
    """Let Graph feed the lake from now on, without a proof."""
    with workspace.index.write() as connection:
        connection.execute(sa.update(mailboxes).where(mailboxes.c.address == KIM).values(phase="graph"))


def at_command(
    workspace: TenantWorkspace, protocol: ProtocolName, command: str, act: Callable[[], object]
) -> None:
    """Let something happen once, before the protocol is asked the command for the first time."""
    waiting = [act]

    def before(asked: ProtocolName, said: str) -> None:
        if (asked, said) == (protocol, command) and waiting:
            waiting.pop()()

    workspace.model.before = before


def lose_projects(workspace: TenantWorkspace, protocol: ProtocolName) -> None:
    """Let the connection break once, in the last of the four folders."""
    folders_left = [4]

    def before(asked: ProtocolName, said: str) -> None:
        if (asked, said) == (protocol, "changes"):
            folders_left[0] -= 1
            if folders_left[0] == 0:
                raise ConnectionLostError("the connection is lost")

    workspace.model.before = before


def texts(workspace: TenantWorkspace) -> list[str]:
    return sorted(str(row["text"]).strip() for row in rows(workspace, "messages"))


def compare(workspace: TenantWorkspace, **changed: object) -> None:
    """A comparison, an hour after what happened before, with these settings of the mailbox."""
    workspace.clock.sleep(3600)
    report = compare_now(workspace, workspace.config.mailbox(KIM).model_copy(update=changed))
    assert report.parity, (report.error, report.folder_errors, report.compare_errors)


def kinds(workspace: TenantWorkspace, address: str = KIM) -> list[str]:
    return sorted(each.kind for each in parity(workspace, address).differences)


def test_never_merged_silently_a_form_is_decided_when_everything_was_looked_at(
    workspace: TenantWorkspace,
) -> None:
    workspace.config = workspace.config.model_copy(update={"ingest": IngestSettings(batch_bytes=1)})
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    read(workspace)
    deliver_twin(workspace, "Another text.", "Projects")
    feed_by_graph(workspace)
    read(workspace)
    assert texts(workspace) == [
        "Another text.",
        "The figures are attached.",
        "The figures are attached. (converted)",
    ]


def test_never_merged_silently_a_form_lies_where_its_message_does(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    hide(workspace, GRAPH, deliver_twin(workspace, "Another text.", "Projects"))
    feed_by_graph(workspace)
    at_command(workspace, IMAP, "folders", lambda: workspace.model.store.delete(KIM, "Inbox", message.uid))
    workspace.clock.sleep(3600)
    compare_now(workspace, workspace.config.mailbox(KIM))
    assert [row["weak"] for row in rows(workspace, "raw")] == [False]


def test_never_merged_silently_no_form_is_matched_where_a_folder_could_not_be_read(
    workspace: TenantWorkspace,
) -> None:
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    read(workspace)
    deliver_twin(workspace, "Another text.", "Projects")
    feed_by_graph(workspace)
    lose_projects(workspace, GRAPH)
    assert list(read(workspace).folder_errors) == ["Projects"]
    read(workspace)
    assert len(rows(workspace, "messages")) == 3


def test_nothing_lost_a_copy_edited_while_its_folder_was_not_read_is_downloaded(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    copied = workspace.model.store.copy(KIM, "Inbox", message.uid, "Projects")
    read(workspace)
    workspace.model.store.edit(KIM, "Projects", copied.uid, mail(1, "Edited."))
    lose_projects(workspace, IMAP)
    assert list(read(workspace).folder_errors) == ["Projects"]
    workspace.model.store.delete(KIM, "Inbox", message.uid)
    feed_by_graph(workspace)
    read(workspace)
    assert texts(workspace) == ["Edited.", "The figures are attached."]


def test_never_merged_silently_what_one_protocol_cannot_deliver_is_no_form_of_a_twin(
    workspace: TenantWorkspace,
) -> None:
    (first,) = deliver(workspace, 1)
    second = deliver_twin(workspace, "Another text.")
    hide(workspace, GRAPH, first)
    workspace.model.poison[IMAP, second.immutable_id] = EMPTY
    read(workspace)
    move(workspace, Phase.SHADOW)
    read(workspace)
    assert evidence(workspace, GRAPH) == []
    assert parity(workspace).grade == Grade.INVESTIGATE
    workspace.model.poison.clear()
    workspace.clock.sleep(86400)
    read(workspace)
    assert texts(workspace) == ["Another text.", "The figures are attached."]
    assert kinds(workspace) == [Kind.MISSING_IN_GRAPH]


def test_nothing_lost_a_twin_that_came_after_the_last_round_is_no_form(workspace: TenantWorkspace) -> None:
    (first,) = deliver(workspace, 1)
    hide(workspace, GRAPH, first)
    read(workspace)
    move(workspace, Phase.SHADOW)
    at_command(workspace, GRAPH, "changes", lambda: deliver_twin(workspace, "Another text."))
    refused = move(workspace, Phase.GRAPH)
    assert refused.result is Result.REFUSED
    assert kinds(workspace) == [Kind.MISSING_IN_GRAPH]


def test_a_message_that_graph_shows_in_other_folders_only_is_a_difference_for_pop3_too(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1, address=ALEX)
    workspace.model.store.copy(ALEX, "Inbox", message.uid, "Projects")
    hide(workspace, GRAPH, message)
    read(workspace, ALEX)
    move(workspace, Phase.SHADOW, ALEX)
    read(workspace, ALEX)
    assert kinds(workspace, ALEX) == [Kind.OTHER_FOLDER]


def test_a_form_is_matched_as_soon_as_nothing_else_can_be_it(workspace: TenantWorkspace) -> None:
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    workspace.model.store.copy(KIM, "Inbox", message.uid, "Inbox")
    workspace.model.poison[GRAPH, message.immutable_id] = EMPTY
    read(workspace)
    move(workspace, Phase.SHADOW)
    read(workspace)
    assert parity(workspace).grade == Grade.INVESTIGATE
    workspace.model.store.delete(KIM, "Inbox", message.uid)
    read(workspace)
    assert kinds(workspace) == [Kind.WEAK]
    assert evidence(workspace, GRAPH) == ["weak"]


def test_two_forms_that_each_got_a_row_are_a_weak_match(tmp_path: Path, reopen: Opener) -> None:
    workspace = reopen()
    (message,) = deliver(workspace, 1, folder="Projects")
    other_form(workspace, message)
    read(workspace)
    move(workspace, Phase.SHADOW)
    assert move(workspace, Phase.GRAPH).result is Result.DONE
    workspace.close()
    # What Graph showed was known by its listing: the lake has no bytes of it.
    index_fixture.lose_index(tmp_path)
    workspace = reopen()
    workspace.model.store.move(KIM, "Projects", message.uid, "Inbox")
    verify(workspace, KIM)
    read(workspace)
    assert len(rows(workspace, "messages")) == 2
    assert (parity(workspace).grade, kinds(workspace)) == (Grade.GOOD, [Kind.WEAK])
    assert_sound(workspace)


def nameless(subject: str, body: str) -> bytes:
    return f"From: Megan Bowen <megan.bowen@contoso.com>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def test_a_nameless_message_is_found_by_its_subject_where_another_came_at_its_time(
    workspace: TenantWorkspace,
) -> None:
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    came = workspace.clock.now() - timedelta(minutes=5)
    for seconds, subject in ((0, "First"), (2, "Second")):
        received_at = came + timedelta(seconds=seconds)
        message = workspace.model.store.deliver(KIM, "Inbox", nameless(subject, "A text."), received_at)
        other_form(workspace, message)
    read(workspace)
    move(workspace, Phase.SHADOW)
    read(workspace)
    assert kinds(workspace) == [Kind.AMBIGUOUS, Kind.AMBIGUOUS]


def test_a_message_that_lies_twice_is_one_difference(workspace: TenantWorkspace) -> None:
    deliver(workspace, 1)
    twin = deliver_twin(workspace, "Another text.")
    copied = workspace.model.store.copy(KIM, "Inbox", twin.uid, "Projects")
    hide(workspace, IMAP, twin, copied)
    read(workspace)
    move(workspace, Phase.SHADOW)
    read(workspace)
    assert kinds(workspace) == [Kind.ONLY_IN_GRAPH]


def test_never_merged_silently_a_protocol_that_shows_two_of_one_header_has_no_form_among_them(
    workspace: TenantWorkspace,
) -> None:
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    (first,) = deliver(workspace, 1)
    other_form(workspace, first)
    second = deliver_twin(workspace, "Another text.", "Projects")
    read(workspace)
    move(workspace, Phase.SHADOW)
    hide(workspace, IMAP, second)
    read(workspace)
    assert "weak" not in evidence(workspace, GRAPH)


def test_never_merged_silently_what_was_left_without_its_body_stands_in_the_way_of_a_form(
    workspace: TenantWorkspace,
) -> None:
    workspace.config = workspace.config.model_copy(update={"ingest": IngestSettings(batch_bytes=1)})
    workspace.model.late[GRAPH] = timedelta(seconds=2)
    move(workspace, Phase.SHADOW)
    hide(workspace, IMAP, deliver_twin(workspace, "Another text.", "Projects"))
    read(workspace)
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    read(workspace)
    read(workspace)
    assert evidence(workspace, GRAPH) == []
    assert "weak" not in kinds(workspace)


def test_a_form_is_matched_though_its_listing_had_been_taken_for_the_message(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    feed_by_graph(workspace)
    compare(workspace)
    assert evidence(workspace, IMAP) == ["listing"]
    workspace.model.store.move(KIM, "Inbox", message.uid, "Projects")
    compare(workspace)
    assert evidence(workspace, IMAP) == ["weak"]
    assert kinds(workspace) == [Kind.WEAK]


def test_a_copy_that_was_linked_by_its_listing_is_the_same_form_as_the_other(
    workspace: TenantWorkspace,
) -> None:
    workspace.model.page_size = 1
    (message,) = deliver(workspace, 1)
    other_form(workspace, message)
    workspace.model.store.copy(KIM, "Inbox", message.uid, "Inbox")
    feed_by_graph(workspace)
    compare(workspace)
    assert evidence(workspace, IMAP) == ["bytes", "weak"]
    assert kinds(workspace) == [Kind.WEAK]


def test_a_difference_that_stood_before_is_looked_at_again_where_a_listing_was_trusted_since(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    hide(workspace, GRAPH, message)
    feed_by_graph(workspace)
    compare(workspace)
    assert kinds(workspace) == [Kind.MISSING_IN_GRAPH]
    other_form(workspace, message)
    workspace.model.hidden.clear()
    workspace.model.store.copy(KIM, "Inbox", message.uid, "Inbox")
    compare(workspace)
    assert evidence(workspace, IMAP) == ["bytes", "weak"]
    assert kinds(workspace) == [Kind.WEAK]


def test_a_message_that_was_edited_between_the_readings_is_no_form_of_itself(
    workspace: TenantWorkspace,
) -> None:
    """Its listing is taken for what it was, and nothing that parity calls good rests on a listing."""
    (message,) = deliver(workspace, 1)
    feed_by_graph(workspace)
    edited = mail(1, "The figures are enclosed.")
    at_command(
        workspace, IMAP, "folders", lambda: workspace.model.store.edit(KIM, "Inbox", message.uid, edited)
    )
    compare(workspace)
    assert evidence(workspace, IMAP) == ["listing"]
    compare(workspace)
    assert (parity(workspace).grade, kinds(workspace)) == (Grade.PERFECT, [])
    assert evidence(workspace, IMAP) == ["key"]
    assert texts(workspace) == ["The figures are attached.", "The figures are enclosed."]


def looks(workspace: TenantWorkspace, **changed: object) -> int:
    """How often a comparison asks Graph for the mailbox's folders."""
    asked: list[tuple[ProtocolName, str]] = []
    workspace.model.before = lambda protocol, command: asked.append((protocol, command))
    compare(workspace, **changed)
    return asked.count((GRAPH, "folders"))


def test_a_difference_that_stood_before_is_looked_at_once_where_bytes_have_told_it(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    hide(workspace, GRAPH, message)
    assert looks(workspace) == 2
    assert looks(workspace) == 1
    assert kinds(workspace) == [Kind.MISSING_IN_GRAPH]


def test_a_difference_is_looked_at_once_where_only_a_folder_that_is_left_out_was_trusted(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    workspace.model.store.copy(KIM, "Inbox", message.uid, "Projects")
    compare(workspace)
    assert evidence(workspace, GRAPH) == ["listing", "listing"]
    hide(workspace, GRAPH, message)
    left_out = FolderRules(exclude=("Projects",))
    compare(workspace, folders=left_out)
    assert looks(workspace, folders=left_out) == 1
    assert kinds(workspace) == [Kind.MISSING_IN_GRAPH]


def test_a_difference_is_looked_at_once_where_only_a_protocol_that_is_no_longer_read_was_trusted(
    workspace: TenantWorkspace,
) -> None:
    (message,) = deliver(workspace, 1)
    feed_by_graph(workspace)
    compare(workspace)
    assert evidence(workspace, IMAP) == ["listing"]
    hide(workspace, POP3, message)
    compare(workspace, legacy="pop3")
    assert looks(workspace, legacy="pop3") == 1
    assert kinds(workspace) == [Kind.ONLY_IN_GRAPH]
