"""Quarantine: what could not be had is listed, asked for again, exported, and never forgotten."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.config.folders import FolderRules
from pipelines.errors import UsageError
from pipelines.index.lease import hold
from pipelines.index.quarantine import ALL_STATES, QuarantineEntry, State, entries
from pipelines.index.status import status
from pipelines.ingest.checks import nothing_lost, quarantine_is_empty
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.quarantine import Retry, export, find, retry
from pipelines.ingest.reasons import REASONS, reason_of
from pipelines.ingest.report import Outcome
from pipelines.sources.base import Entry, FetchFailed
from tests.ingest.conftest import rows
from tests.ingest.model import ALEX, KIM, ModelFolder, ModelMailbox, ModelWorkspace, VirtualClock, mail

ROOT = Path(__file__).parents[2]
NOTICE = b"Subject: Retrieval using the IMAP4 protocol failed\r\n\r\nThe server couldn't retrieve it.\r\n"


def poison(server: ModelMailbox, *native_ids: str) -> None:
    """The server has nothing to say about the first of them, and sends notices for the others."""
    for each in native_ids:
        silent = each == native_ids[0]
        server.poison[each] = FetchFailed(
            Entry(each),
            "empty-answer" if silent else "placeholder",
            "the server lists the message and sends no content" if silent else "a notice came in its place",
            fallback=None if silent else NOTICE,
        )


def ingest(workspace: ModelWorkspace, address: str = KIM) -> Outcome:
    return ingest_mailbox(workspace, workspace.config.mailbox(address)).outcome


def held(workspace: ModelWorkspace, *states: State) -> list[QuarantineEntry]:
    with workspace.index.read() as connection:
        return entries(connection, [KIM, ALEX], states=states or (State.OPEN,))


def retry_all(workspace: ModelWorkspace, *ids: str) -> Retry:
    return retry(workspace, workspace.config.mailboxes, ids)


@pytest.fixture
def server(workspace: ModelWorkspace) -> ModelMailbox:
    """Kim's mailbox with four messages, of which the second and third cannot be had, read once."""
    mailbox = workspace.servers[KIM]
    for number in range(1, 5):
        mailbox.inbox.deliver(mail(number))
    poison(mailbox, "1:2", "1:3")
    assert ingest(workspace) is Outcome.ATTENTION
    return mailbox


def test_an_entry_tells_all_there_is_to_know(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    first, second = held(workspace)
    assert first.to_json() == {
        "id": first.entry_id,
        "mailbox": KIM,
        "protocol": "imap",
        "folder": "Inbox",
        "native_id": "1:2",
        "message_id": None,
        "reason": "empty-answer",
        "detail": "the server lists the message and sends no content",
        "state": "open",
        "attempts": 1,
        "first_seen": workspace.clock.now().isoformat(),
        "last_seen": workspace.clock.now().isoformat(),
        "next_attempt": "2026-04-05T09:05:00+00:00",
        "fallback": False,
        "fallback_sha256": None,
        "fidelity": None,
        "size": len(mail(2)),
        "received_at": "2025-03-01T09:02:00+00:00",
        "accepted_by": None,
        "accepted_at": None,
        "accepted_reason": None,
    }
    assert (second.native_id, second.reason, second.fidelity) == ("1:3", "placeholder", None)
    assert second.fallback_sha256 is not None


def test_entries_are_found_by_mailbox_folder_reason_and_state(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    server.folders["Projects"] = ModelFolder()
    server.folders["Projects"].deliver(mail(10))
    poison(server, "1:1", "1:2", "1:3")
    ingest(workspace)

    def native_ids(*addresses: str, **filters: object) -> list[tuple[str, str]]:
        with workspace.index.read() as connection:
            found = entries(connection, addresses, **filters)  # type: ignore[arg-type]
        return [(each.folder, each.native_id) for each in found]

    assert native_ids(KIM, ALEX) == [("Inbox", "1:2"), ("Inbox", "1:3"), ("Projects", "1:1")]
    assert native_ids(ALEX) == []
    assert native_ids(KIM, folder="Projects") == [("Projects", "1:1")]
    assert native_ids(KIM, reason="placeholder") == [("Inbox", "1:3")]
    assert native_ids(KIM, states=[State.RESOLVED]) == []


def test_nothing_lost_poison_is_listed_then_repaired_asked_for_again_and_stored_exactly_once(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    assert [each.native_id for each in held(workspace)] == ["1:2", "1:3"]
    server.poison.clear()
    result = retry_all(workspace)
    assert [(each.native_id, each.state, each.attempts) for each in result.entries] == [
        ("1:2", State.RESOLVED, 1),
        ("1:3", State.RESOLVED, 1),
    ]
    assert result.untried == set()
    assert held(workspace) == []
    assert {row["mime"] for row in rows(workspace, "raw")} == server.all_mime()
    assert ingest(workspace) is Outcome.DONE
    assert len(rows(workspace, "messages")) == len(rows(workspace, "raw")) == 4
    assert nothing_lost(workspace, KIM).passed


def test_failure_is_contained_retry_tells_what_came_from_what_remains(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    del server.poison["1:2"]
    result = retry_all(workspace)
    (came,), (left,) = result.in_state(State.RESOLVED), result.in_state(State.OPEN)
    assert (came.native_id, left.native_id, left.attempts) == ("1:2", "1:3", 2)
    told = result.to_json()
    assert (told["resolved"], told["remaining"], told["gone"]) == (1, 1, 0)
    assert [each["mailbox"] for each in told["mailboxes"]] == [KIM], "Alex has nothing to ask for"


def test_retry_asks_for_the_named_entries_only(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    server.poison.clear()
    first, second = held(workspace)
    result = retry_all(workspace, second.entry_id)
    assert [each.native_id for each in result.in_state(State.RESOLVED)] == ["1:3"]
    assert held(workspace) == [first], "nothing of the other has changed"


def test_retry_of_an_empty_quarantine_reads_nothing(workspace: ModelWorkspace) -> None:
    result = retry_all(workspace)
    assert (result.entries, result.reports) == ([], [])


def test_one_writer_retry_leaves_a_mailbox_that_another_run_holds(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    before = held(workspace)
    server.poison.clear()
    with hold(workspace.index, KIM, workspace.clock):
        result = retry_all(workspace)
    assert [each.outcome for each in result.reports] == [Outcome.BUSY]
    assert result.untried == {each.entry_id for each in before}
    assert held(workspace) == before


def test_retry_says_what_no_pass_asks_for(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    server.folders["Projects"] = ModelFolder()
    server.folders["Projects"].deliver(mail(10))
    poison(server, "1:1")
    ingest(workspace)
    kim = workspace.config.mailbox(KIM)
    left_out = kim.model_copy(update={"folders": FolderRules(exclude=("Projects",))})
    workspace.config = workspace.config.model_copy(update={"mailboxes": (left_out,)})
    ingest(workspace)
    result = retry(workspace, workspace.config.mailboxes)
    assert [each.folder for each in result.entries if each.entry_id in result.untried] == ["Projects"]
    (entry,) = [each for each in held(workspace) if each.folder == "Projects"]
    assert entry.next_attempt is None, "none will come by itself"


def test_the_back_off_outlives_the_process(
    open_model: Callable[..., ModelWorkspace], workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    clock = VirtualClock()
    waits = []
    for _ in range(11):
        again = open_model(clock)
        (entry, *_) = held(again)
        assert entry.next_attempt
        wait = (entry.next_attempt - clock.now()).total_seconds()
        clock.sleep(wait - 1)
        ingest(again)
        assert held(again)[0].attempts == entry.attempts, "not before its time"
        clock.sleep(1)
        ingest(again)
        assert held(again)[0].attempts == entry.attempts + 1
        waits.append(wait / 60)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]


def test_entries_of_a_folder_that_vanished_are_gone(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    del server.folders["Inbox"]
    server.folders["Elsewhere"] = ModelFolder()
    ingest(workspace)
    assert [each.state for each in held(workspace, *ALL_STATES)] == [State.GONE, State.GONE]
    assert held(workspace, State.GONE)[0].next_attempt is None
    assert retry_all(workspace).entries == []


def test_the_id_of_an_entry_is_the_same_after_the_index_was_rebuilt(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    from pipelines.ingest.stages import Stage, run_stage

    before = [each.entry_id for each in held(workspace)]
    list(run_stage(workspace, Stage.MESSAGE_INDEX, [workspace.config.mailbox(KIM)]))
    assert held(workspace) == []
    ingest(workspace)
    assert [each.entry_id for each in held(workspace)] == before


def test_bad_input_gets_a_clear_error_for_an_unknown_id(
    workspace: ModelWorkspace, server: ModelMailbox
) -> None:
    with pytest.raises(UsageError, match="nothing in quarantine has the id 0123456789ab"):
        find(workspace, workspace.config.mailboxes, ["0123456789ab", held(workspace)[0].entry_id])


def test_status_and_check_tell_age_and_reasons(workspace: ModelWorkspace, server: ModelMailbox) -> None:
    workspace.clock.sleep(3 * 86400)
    kim, alex = status(workspace.index, [KIM, ALEX], workspace.clock.now())
    assert (kim.quarantine, kim.quarantine_oldest) == (2, 3 * 86400)
    assert kim.to_json()["quarantine_reasons"] == {"empty-answer": 1, "placeholder": 1}
    assert (alex.quarantine, alex.quarantine_oldest, alex.quarantine_reasons) == (0, None, {})
    result = quarantine_is_empty(workspace, KIM)
    assert not result.passed
    assert result.summary.startswith("1 empty-answer, 1 placeholder; the oldest for 3 days")
    assert result.figures == {"quarantine": 2, "oldest_days": 3}
    assert quarantine_is_empty(workspace, ALEX).passed


def test_export_writes_descriptions_and_what_the_server_sent(
    workspace: ModelWorkspace, server: ModelMailbox, tmp_path: Path
) -> None:
    silent, notice = held(workspace)
    written = export(workspace, [KIM, ALEX], tmp_path / "to look at")
    assert [(each.entry, each.form is not None, each.damage) for each in written] == [
        (silent, False, None),
        (notice, True, None),
    ]
    for each in written:
        assert json.loads(each.description.read_text()) == each.entry.to_json()
    assert (tmp_path / "to look at" / f"{notice.entry_id}.eml").read_bytes() == NOTICE


def test_secrets_stay_secret_exported_files_are_their_owners_only(
    workspace: ModelWorkspace, server: ModelMailbox, tmp_path: Path
) -> None:
    export(workspace, [KIM], tmp_path / "out")
    paths = [tmp_path / "out", *(tmp_path / "out").iterdir()]
    assert len(paths) == 4
    for path in paths:
        assert path.stat().st_mode & 0o077 == 0, path


def test_export_overwrites_nothing(workspace: ModelWorkspace, server: ModelMailbox, tmp_path: Path) -> None:
    name = f"{held(workspace)[1].entry_id}.eml"
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match=f"{name} is there already"):
        export(workspace, [KIM], tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert not list(tmp_path.glob("*.json")), "nothing was written"


def test_bad_input_gets_a_clear_error_where_the_folder_is_a_file(
    workspace: ModelWorkspace, server: ModelMailbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file cannot be written"):
        export(workspace, [KIM], tmp_path / "file")


@pytest.mark.parametrize("change", ["lost", "altered"])
def test_export_names_what_the_lake_has_lost_and_goes_on(
    workspace: ModelWorkspace, server: ModelMailbox, tmp_path: Path, change: str
) -> None:
    folder = Path(workspace.lake.root) / "control" / "fallback"
    (kept,) = (path for path in folder.rglob("*") if path.is_file())
    if change == "lost":
        kept.unlink()
    else:
        kept.write_bytes(b"something else")
    written = export(workspace, [KIM], tmp_path / "out")
    assert len(written) == 2
    damage = written[1].damage
    assert damage is not None
    assert f"is {change} in the lake" in damage.message
    assert written[1].form is None


def test_secrets_stay_secret_nothing_that_is_told_of_an_entry_is_message_content(
    workspace: ModelWorkspace, server: ModelMailbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fragile(mime: bytes) -> object:
        raise ValueError(mime.decode())

    monkeypatch.setattr("pipelines.mime.process.normalise", fragile)
    server.inbox.deliver(mail(5, "The figures are secret."))
    server.poison.clear()
    retry_all(workspace)
    export(workspace, [KIM], tmp_path / "out")
    assert len(held(workspace)) == 3
    told = json.dumps([each.to_json() for each in held(workspace)])
    told += "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
    assert "figures" not in told
    assert "Report" not in told


def raised_reasons() -> set[str]:
    """The reasons with which any source, and the batch, put messages into quarantine."""
    found = set()
    for path in [
        *(ROOT / "pipelines" / "sources").glob("*.py"),
        *(ROOT / "pipelines" / "ingest").glob("*.py"),
    ]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "FetchFailed":
                gone = any(each.arg == "gone" for each in call.keywords)
                reason = call.args[1] if len(call.args) > 1 else None
                if isinstance(reason, ast.Constant) and not gone:
                    found.add(str(reason.value))
    return found


def test_every_reason_has_a_meaning_and_a_remedy() -> None:
    assert {"empty-answer", "placeholder", "unreadable"} <= raised_reasons()
    assert raised_reasons() <= REASONS.keys()
    assert reason_of("of a newer source").remedy
