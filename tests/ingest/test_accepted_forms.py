"""Accepting what a server offers instead of a message: a row that says so, until the message comes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.errors import MailoverError, UsageError
from pipelines.index import commit as commit_module
from pipelines.index.lease import hold
from pipelines.index.quarantine import ALL_STATES, QuarantineEntry, State, entries
from pipelines.index.search import search
from pipelines.index.status import status
from pipelines.index.tables import occurrences
from pipelines.ingest import batch as batch_module
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.compaction import compact
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.quarantine import AcceptedForm, accept, retry
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.verify import verify
from pipelines.ingest.workspace import Workspace
from pipelines.lake import tiers
from pipelines.lake.storage import Lake
from pipelines.sources.base import Entry, FetchFailed
from tests import index_fixture
from tests.ingest.conftest import rows
from tests.ingest.model import KIM, ModelFolder, ModelMailbox, ModelWorkspace, mail

FORM = mail(2, "The figures, as JSON tells them.")
"""What the server makes of message 2 instead of its MIME: the same headers, other content."""
DAY = 86400


def unconvertible(native_id: str, form: bytes = FORM) -> FetchFailed:
    return FetchFailed(
        Entry(native_id),
        "conversion-failed",
        "Exchange cannot make MIME of the message",
        fallback=form,
        fidelity="graph-json",
    )


def ingest(workspace: Workspace) -> MailboxReport:
    return ingest_mailbox(workspace, workspace.config.mailbox(KIM))


def held(workspace: Workspace, *states: State) -> list[QuarantineEntry]:
    with workspace.index.read() as connection:
        return entries(connection, [KIM], states=states or ALL_STATES)


def accept_all(workspace: Workspace, actor: str = "pat", reason: str = "it will do") -> list[AcceptedForm]:
    ids = [each.entry_id for each in held(workspace, State.OPEN, State.ACCEPTED)]
    return accept(workspace, workspace.config.mailboxes, ids, actor, reason)


def texts(workspace: Workspace) -> dict[str, str]:
    """Fidelity by text, of every row of ``messages``."""
    found = [(str(row["text"]).strip(), str(row["fidelity"])) for row in rows(workspace, "messages")]
    assert len(found) == len(set(found))
    return dict(found)


def assert_sound(workspace: Workspace) -> None:
    """The invariants hold, and index and lake tell the same."""
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, KIM)
        assert result.passed, (check.__name__, result.summary)
    found = verify(workspace, KIM)
    assert (found.repaired, found.damage) == ([], [])
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert state.messages == len(rows(workspace, "messages"))


@pytest.fixture
def server(workspace: ModelWorkspace) -> ModelMailbox:
    """Kim's mailbox with three messages; the second has a form instead of its MIME."""
    mailbox = workspace.servers[KIM]
    for number in (1, 2, 3):
        mailbox.inbox.deliver(mail(number, f"Text {number}."))
    mailbox.poison["1:2"] = unconvertible("1:2")
    ingest(workspace)
    return mailbox


def test_nothing_lost_an_accepted_form_is_a_message_that_says_what_it_is(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    (accepted,) = accept_all(workspace, "pat", "  its text is all we need ")
    (row,) = [row for row in rows(workspace, "messages") if row["fidelity"] != "mime"]
    assert (row["fidelity"], row["message_key"]) == ("graph-json", accepted.message_key)
    assert (row["folders"], row["protocol"]) == (["Inbox"], "imap")
    (raw,) = [row for row in rows(workspace, "raw") if row["fidelity"] != "mime"]
    assert (raw["mime"], raw["native_id"], raw["raw_sha256"]) == (FORM, "1:2", row["raw_sha256"])
    (entry,) = held(workspace)
    assert entry == accepted.entry
    assert (entry.state, entry.accepted_by) == (State.ACCEPTED, "pat")
    assert (entry.accepted_at, entry.accepted_reason) == (workspace.clock.now(), "its text is all we need")
    assert ingest(workspace).outcome is Outcome.DONE
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert (state.quarantine, state.messages, state.occurrences) == (0, 3, 3)
    (hit,) = search(workspace.index, "json", 10)
    assert hit.folders == ("Inbox",)
    assert_sound(workspace)


def test_nothing_twice_two_acceptances_of_one_entry_are_one(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    first = accept_all(workspace, "pat", "it will do")
    workspace.clock.sleep(60)
    assert accept_all(workspace, "alex", "me too") == first
    assert len(rows(workspace, "messages")) == len(rows(workspace, "raw")) == 3
    assert_sound(workspace)


def test_nothing_twice_one_form_under_two_ids_is_one_message(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    server.folders["Projects"] = ModelFolder()
    server.folders["Projects"].deliver(mail(2))
    server.poison["1:1"] = unconvertible("1:1")
    ingest(workspace)
    first, second = accept_all(workspace)
    assert first.message_key == second.message_key
    assert len(rows(workspace, "raw")) == 3
    (hit,) = search(workspace.index, "json", 10)
    assert hit.folders == ("Inbox", "Projects")
    assert_sound(workspace)


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (
            FetchFailed(Entry("1:9"), "placeholder", "a notice came", fallback=b"Subject: failed\r\n\r\n"),
            "can never stand for the message",
        ),
        (FetchFailed(Entry("1:9"), "empty-answer", "nothing came"), "offered nothing"),
    ],
    ids=["placeholder", "nothing"],
)
def test_bad_input_gets_a_clear_error_where_nothing_can_stand_for_the_message(
    workspace: ModelWorkspace, server: ModelMailbox, failed: FetchFailed, said: str
) -> None:
    uid = server.inbox.deliver(mail(9))
    server.poison[f"1:{uid}"] = failed
    ingest(workspace)
    with pytest.raises(UsageError, match=said):
        accept_all(workspace)
    assert [each.state for each in held(workspace)] == [State.OPEN, State.OPEN], "none of them"


def test_bad_input_gets_a_clear_error_where_there_is_nothing_to_accept(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    (entry,) = held(workspace)
    with pytest.raises(UsageError, match="needs a reason"):
        accept_all(workspace, reason=" ")
    server.poison.clear()
    retry(workspace, workspace.config.mailboxes)
    with pytest.raises(UsageError, match="came and is stored"):
        accept(workspace, workspace.config.mailboxes, [entry.entry_id], "pat", "it will do")


@pytest.mark.parametrize("change", ["lost", "altered"])
def test_bytes_are_kept_a_form_that_is_not_what_came_is_never_accepted(
    workspace: ModelWorkspace, server: ModelMailbox, change: str
) -> None:
    folder = Path(workspace.lake.root) / "control" / "fallback"
    (kept,) = (path for path in folder.rglob("*") if path.is_file())
    if change == "lost":
        kept.unlink()
    else:
        kept.write_bytes(mail(2, "Something else."))
    with pytest.raises(MailoverError, match=f"is {change} in the lake"):
        accept_all(workspace)
    assert [each.state for each in held(workspace)] == [State.OPEN]
    retry(workspace, workspace.config.mailboxes)
    assert accept_all(workspace), "the server offers it again"


def test_one_writer_a_mailbox_that_is_being_written_accepts_nothing(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    with hold(workspace.index, KIM, workspace.clock), pytest.raises(MailoverError) as refused:
        accept_all(workspace)
    assert refused.value.exit_code == 1
    assert "being written by process" in refused.value.message
    assert [each.state for each in held(workspace)] == [State.OPEN]


def test_nothing_lost_what_came_meanwhile_is_not_replaced_by_a_form(
    workspace: ModelWorkspace, server: ModelMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        server.poison.clear()
        retry(workspace, workspace.config.mailboxes)
        return hold(*arguments)

    monkeypatch.setattr("pipelines.ingest.quarantine.hold", overtaken)
    (accepted,) = accept_all(workspace)
    assert (accepted.entry.state, accepted.entry.accepted_by) == (State.RESOLVED, None)
    assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
    assert FORM not in {row["mime"] for row in rows(workspace, "raw")}
    assert_sound(workspace)


def test_an_accepted_message_is_asked_for_once_a_day_and_troubles_nobody(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    accept_all(workspace)
    workspace.clock.sleep(DAY - 1)
    assert ingest(workspace).rounds[0].listed == 0
    workspace.clock.sleep(1)
    report = ingest(workspace)
    assert report.outcome is Outcome.DONE
    assert (report.rounds[0].listed, report.rounds[0].known, report.rounds[0].quarantined) == (1, 1, 0)
    (entry,) = held(workspace)
    assert (entry.state, entry.attempts) == (State.ACCEPTED, 2)
    assert entry.next_attempt
    assert (entry.next_attempt - workspace.clock.now()).total_seconds() == DAY
    assert len(rows(workspace, "messages")) == 3
    assert_sound(workspace)


def test_nothing_twice_the_message_itself_takes_the_place_of_its_form(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    accept_all(workspace, "pat", "it will do")
    server.poison.clear()
    result = retry(workspace, workspace.config.mailboxes)
    assert texts(workspace) == {"Text 1.": "mime", "Text 2.": "mime", "Text 3.": "mime"}
    assert {row["mime"] for row in rows(workspace, "raw")} == {FORM, *server.all_mime()}
    (entry,) = result.entries
    assert (entry.state, entry.accepted_by) == (State.RESOLVED, "pat")
    (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert (state.messages, state.occurrences) == (3, 3)
    assert search(workspace.index, "json", 10) == []
    (hit,) = search(workspace.index, '"text 2"', 10)
    assert hit.folders == ("Inbox",)
    assert_sound(workspace)
    server.fetched.clear()
    workspace.clock.sleep(2 * DAY)
    assert ingest(workspace).outcome is Outcome.DONE
    assert server.fetched == []


def test_other_forms_of_the_same_file_stand_on(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    for number in (4, 5):
        uid = server.inbox.deliver(mail(number))
        server.poison[f"1:{uid}"] = unconvertible(f"1:{uid}", mail(number, f"Form {number}."))
    ingest(workspace)
    accept_all(workspace)
    assert len(workspace.lake.files("messages", KIM)) == 2  # type: ignore[arg-type]
    del server.poison["1:4"]
    server.inbox.deliver(mail(6, "Text 6."))
    workspace.clock.sleep(DAY)
    ingest(workspace)
    assert texts(workspace) == {
        "Text 1.": "mime",
        "The figures, as JSON tells them.": "graph-json",
        "Text 3.": "mime",
        "The figures are attached.": "mime",
        "Form 5.": "graph-json",
        "Text 6.": "mime",
    }
    assert_sound(workspace)


def test_bytes_are_kept_a_form_stands_in_and_gives_way_after_merging_files(
    workspace: ModelWorkspace, server: ModelMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "FAN_IN", 2)
    server.inbox.deliver(mail(4, "Text 4."))
    server.poison["1:4"] = unconvertible("1:4", mail(4, "Form 4."))
    ingest(workspace)
    accept_all(workspace)
    assert compact(workspace, KIM).merged == 4
    (report,) = run_stage(workspace, Stage.MESSAGE_INDEX, [workspace.config.mailbox(KIM)])
    assert report.messages == 4
    assert texts(workspace) == {
        "Text 1.": "mime",
        "The figures, as JSON tells them.": "graph-json",
        "Text 3.": "mime",
        "Form 4.": "graph-json",
    }
    assert_sound(workspace)
    server.poison.clear()
    retry(workspace, workspace.config.mailboxes)
    assert texts(workspace) == {f"Text {number}.": "mime" for number in (1, 2, 3, 4)}
    assert_sound(workspace)


def test_nothing_twice_a_message_of_the_same_key_takes_the_place_of_its_form(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    folded = mail(2).replace(b"Subject: Report 2", b"Subject: Report\r\n 2")
    uid = server.inbox.deliver(mail(2))
    server.poison[f"1:{uid}"] = unconvertible(f"1:{uid}", folded)
    del server.poison["1:2"]
    ingest(workspace)
    accept_all(workspace)
    server.folders["Projects"] = ModelFolder()
    server.folders["Projects"].deliver(mail(2))
    ingest(workspace)
    assert texts(workspace) == {
        "Text 1.": "mime",
        "The figures, as JSON tells them.": "graph-json",
        "Text 3.": "mime",
        "The figures are attached.": "mime",
    }
    (hit,) = search(workspace.index, "attached", 10)
    assert hit.folders == ("Inbox", "Projects")
    assert_sound(workspace)


def test_two_that_differ_are_not_merged_when_one_form_stood_for_both(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    server.folders["Projects"] = ModelFolder()
    server.folders["Projects"].deliver(mail(2, "Another text 2."))
    server.poison["1:1"] = unconvertible("1:1")
    ingest(workspace)
    accept_all(workspace)
    del server.poison["1:2"]
    retry(workspace, workspace.config.mailboxes)
    server.poison.clear()
    retry(workspace, workspace.config.mailboxes)
    assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3.", "Another text 2."), "mime")
    (hit,) = search(workspace.index, "another", 10)
    assert hit.folders == ("Projects",)
    assert_sound(workspace)


def test_an_accepted_message_that_is_gone_is_kept(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    accept_all(workspace)
    del server.inbox.messages[2]
    workspace.clock.sleep(DAY)
    ingest(workspace)
    assert [each.state for each in held(workspace)] == [State.GONE]
    assert len(rows(workspace, "messages")) == 3
    with workspace.index.read() as connection:
        ended = sa.select(occurrences.c.native_id).where(occurrences.c.removed_at.is_not(None))
        assert connection.scalars(ended).all() == ["1:2"]
    assert_sound(workspace)


def lose_index(workspace: ModelWorkspace, reopen: Callable[..., ModelWorkspace]) -> ModelWorkspace:
    """Nothing of the index is left but what the lake tells."""
    workspace.close()
    index_fixture.lose_index(Path(workspace.lake.root).parent)
    again = reopen(workspace.virtual_clock)
    assert verify(again, KIM).damage == []
    return again


def rebuild(workspace: ModelWorkspace, _reopen: Callable[..., ModelWorkspace]) -> ModelWorkspace:
    (report,) = run_stage(workspace, Stage.MESSAGE_INDEX, [workspace.config.mailbox(KIM)])
    assert report.outcome is Outcome.DONE
    return workspace


def lose_messages(workspace: ModelWorkspace, _reopen: Callable[..., ModelWorkspace]) -> ModelWorkspace:
    """The bytes are all there is."""
    for path in workspace.lake.files("messages", KIM):  # type: ignore[arg-type]
        workspace.lake.delete(path)
    assert verify(workspace, KIM).damage == []
    return workspace


Loss = Callable[[ModelWorkspace, Callable[..., ModelWorkspace]], ModelWorkspace]
losses = pytest.mark.parametrize("lose", [lose_index, rebuild, lose_messages])


@losses
def test_bytes_are_kept_an_accepted_form_survives_a_rebuild(
    workspace: ModelWorkspace,
    server: ModelMailbox,
    open_model: Callable[..., ModelWorkspace],
    lose: Loss,
) -> None:
    (before,) = accept_all(workspace, "pat", "it will do")
    workspace = lose(workspace, open_model)
    assert texts(workspace)["The figures, as JSON tells them."] == "graph-json"
    (after,) = held(workspace)
    assert (after.entry_id, after.state, after.accepted_by, after.accepted_at, after.accepted_reason) == (
        before.entry.entry_id,
        State.ACCEPTED,
        "pat",
        before.entry.accepted_at,
        "it will do",
    )
    assert ingest(workspace).outcome is Outcome.DONE
    assert len(rows(workspace, "messages")) == 3
    server.poison.clear()
    workspace.clock.sleep(DAY)
    ingest(workspace)
    assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
    assert_sound(workspace)


@losses
def test_nothing_twice_a_form_that_gave_way_stays_away_after_a_rebuild(
    workspace: ModelWorkspace,
    server: ModelMailbox,
    open_model: Callable[..., ModelWorkspace],
    lose: Loss,
) -> None:
    accept_all(workspace)
    server.poison.clear()
    retry(workspace, workspace.config.mailboxes)
    for _ in range(2):
        workspace = lose(workspace, open_model)
        assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
        assert {row["mime"] for row in rows(workspace, "raw")} == {FORM, *server.all_mime()}
        server.fetched.clear()
        assert ingest(workspace).outcome is Outcome.DONE
        assert server.fetched == []
        assert_sound(workspace)


def test_a_newer_normaliser_leaves_a_form_what_it_is(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    accept_all(workspace)
    (report,) = run_stage(workspace, Stage.MESSAGES, [workspace.config.mailbox(KIM)])
    assert report.messages == 3
    assert texts(workspace)["The figures, as JSON tells them."] == "graph-json"
    server.poison.clear()
    retry(workspace, workspace.config.mailboxes)
    (report,) = run_stage(workspace, Stage.MESSAGES, [workspace.config.mailbox(KIM)])
    assert report.messages == 3, "a form that gave way is no message of its own"
    assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
    assert_sound(workspace)


class Died(BaseException):
    """As if the process ended here."""


@dataclass(frozen=True)
class Death:
    """The call that the process does not outlive: it ends before it, or after."""

    owner: Any
    name: str
    after: bool

    def end(self, work: Callable[[], object]) -> None:
        """Do some work until then."""
        real = getattr(self.owner, self.name)

        def fatal(*args: Any, **kwargs: Any) -> None:
            if self.after:
                real(*args, **kwargs)
            raise Died

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.owner, self.name, fatal)
            with pytest.raises(Died):
                work()


BEFORE_SWEEPING = Death(batch_module, "sweep_retired", after=False)
BEFORE_THE_COMMIT = Death(batch_module, "commit", after=False)
AFTER_THE_COMMIT = Death(batch_module, "commit", after=True)
AFTER_A_FILE = Death(Lake, "publish", after=True)


@pytest.mark.parametrize(
    "death",
    [
        AFTER_A_FILE,
        BEFORE_THE_COMMIT,
        Death(commit_module, "give_way", after=True),
        Death(commit_module, "keep_accepted", after=True),
        AFTER_THE_COMMIT,
        BEFORE_SWEEPING,
        Death(batch_module, "sweep_retired", after=True),
    ],
)
def test_nothing_twice_a_death_while_a_form_gives_way(
    workspace: ModelWorkspace,
    server: ModelMailbox,
    open_model: Callable[..., ModelWorkspace],
    death: Death,
) -> None:
    accept_all(workspace)
    server.poison.clear()
    workspace.clock.sleep(DAY)
    death.end(lambda: ingest(workspace))
    workspace.close()
    again = open_model(workspace.virtual_clock)
    assert ingest(again).outcome is Outcome.DONE
    assert texts(again) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
    assert {row["mime"] for row in rows(again, "raw")} == {FORM, *server.all_mime()}
    assert [each.state for each in held(again)] == [State.RESOLVED]
    assert_sound(again)


def test_nothing_twice_a_rebuild_finds_the_file_that_a_form_has_left(
    workspace: ModelWorkspace,
    server: ModelMailbox,
    open_model: Callable[..., ModelWorkspace],
) -> None:
    accept_all(workspace)
    server.poison.clear()
    workspace.clock.sleep(DAY)
    BEFORE_SWEEPING.end(lambda: ingest(workspace))
    rebuild(workspace, open_model)
    assert texts(workspace) == dict.fromkeys(("Text 1.", "Text 2.", "Text 3."), "mime")
    assert_sound(workspace)


@pytest.mark.parametrize(
    "death",
    [
        AFTER_A_FILE,
        BEFORE_THE_COMMIT,
        Death(commit_module, "keep_accepted", after=True),
        AFTER_THE_COMMIT,
    ],
)
def test_nothing_twice_a_death_while_a_form_is_accepted(
    workspace: ModelWorkspace,
    server: ModelMailbox,
    open_model: Callable[..., ModelWorkspace],
    death: Death,
) -> None:
    death.end(lambda: accept_all(workspace))
    workspace.close()
    again = open_model(workspace.virtual_clock)
    ingest(again)
    accept_all(again)
    assert texts(again)["The figures, as JSON tells them."] == "graph-json"
    assert len(rows(again, "messages")) == len(rows(again, "raw")) == 3
    assert_sound(again)


def test_the_lake_keeps_who_accepted_what(
    open_model: Callable[..., ModelWorkspace], workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    accept_all(workspace, "pat", "it will do")
    (control,) = (Path(workspace.lake.root) / "control" / "mailboxes").glob("*kim*")
    assert '"accepted_by": "pat"' in control.read_text()
    assert control.stat().st_mode & 0o077 == 0
