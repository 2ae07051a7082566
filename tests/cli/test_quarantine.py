"""``mailover quarantine``: what it prints, and how it exits."""

import getpass
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_config
from pipelines.ingest.passes import ingest_mailbox
from pipelines.sources.base import Entry, FetchFailed
from tests.cli_fixture import Command
from tests.ingest.model import KIM, ModelMailbox, ModelWorkspace, VirtualClock, mail
from tests.sandbox_fixture import RunningSandbox

CONFIG = """\
tenant:
  id: 11111111-2222-3333-4444-555555555555
  client_id: 66666666-7777-8888-9999-000000000000
  credential: {secret_env: MAILOVER_CLIENT_SECRET}
storage: {lake: ./lake, index: "sqlite:///mailover.db"}
mailboxes:
  - {address: kim.akers@contoso.com, legacy: imap}
"""
FORM = mail(2, "As JSON tells it.")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tenant(sandbox: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    """A tenant that sends a notice instead of one message of Kim's Inbox; read once."""
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    sandbox.control.deliver(KIM, "Inbox", mail(1))
    highest = max(
        (each["uid"], each["folder"]) for each in sandbox.control.messages() if each["mailbox"] == KIM
    )
    assert highest[1] == "Inbox", "no other folder has this number"
    where = {"door": "imap", "command": "FETCH", "mailbox": KIM, "uid": highest[0]}
    sandbox.control.do("add_fault", kind="placeholder", **where)
    assert mailover("ingest").code == 1
    return sandbox


@pytest.fixture
def offered(tmp_path: Path, mailover: Command, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A mailbox of which one message came as a form that can stand for it, and one as a notice: by id."""
    (tmp_path / "mailover.yaml").write_text(CONFIG)
    monkeypatch.setenv("MAILOVER_CONFIG", str(tmp_path / "mailover.yaml"))
    server = ModelMailbox()
    for number in (1, 2, 3):
        server.inbox.deliver(mail(number))
    told = "Exchange cannot make MIME of the message"
    server.poison["1:2"] = FetchFailed(
        Entry("1:2"), "conversion-failed", told, fallback=FORM, fidelity="graph-json"
    )
    server.poison["1:3"] = FetchFailed(Entry("1:3"), "placeholder", "a notice came", fallback=b"no mail")
    with ModelWorkspace(load_config(tmp_path / "mailover.yaml"), {KIM: server}, VirtualClock()) as workspace:
        ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    return {each["native_id"]: each for each in mailover("quarantine", "list", "--json").json}


def test_what_is_in_quarantine_is_listed_repaired_and_asked_for_again(
    tenant: RunningSandbox, mailover: Command
) -> None:
    (entry,) = mailover("quarantine", "list", "--json").json
    assert (entry["mailbox"], entry["folder"], entry["reason"]) == (KIM, "Inbox", "placeholder")
    assert (entry["state"], entry["attempts"], entry["fallback"], entry["fidelity"]) == (
        "open",
        1,
        True,
        None,
    )
    listed = mailover("quarantine", "list")
    assert listed.code == 0
    assert entry["id"] in listed.out
    assert "placeholder: Exchange could not convert the message" in listed.out
    (state,) = mailover("status", KIM, "--json").json
    assert (state["quarantine"], state["quarantine_reasons"]) == (1, {"placeholder": 1})
    assert 0 <= state["quarantine_oldest"] < 300

    again = mailover("quarantine", "retry", "--json")
    assert again.code == 1
    assert (again.json["remaining"], again.json["entries"][0]["attempts"]) == (1, 2)
    assert [each["mailbox"] for each in again.json["mailboxes"]] == [KIM]
    refused = mailover("quarantine", "accept", "--id", entry["id"], "--reason", "no")
    assert refused.code == 2
    assert "can never stand for the message (placeholder)" in refused.err

    tenant.control.do("clear_faults")
    came = mailover("quarantine", "retry", "--id", entry["id"])
    assert came.code == 0
    assert came.out.startswith("stored: 1, gone from the mailbox: 0")
    assert mailover("quarantine", "list").err == "nothing in quarantine\n"
    assert mailover("quarantine", "list", "--json").json == []
    assert mailover("status").code == 0
    assert mailover("quarantine", "retry").err == "nothing in quarantine\n"


def test_nothing_twice_what_graph_cannot_convert_is_accepted_and_gives_way_when_it_comes(
    sandbox: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    on_graph = sandbox.config_path.read_text().replace(f"{KIM}\n    legacy: imap", KIM)
    sandbox.config_path.write_text(on_graph)
    sandbox.control.deliver(KIM, "Inbox", mail(1, "Not to be converted."))
    messages = len([each for each in sandbox.control.messages() if each["mailbox"] == KIM])
    last = max(each["uid"] for each in sandbox.control.messages() if each["mailbox"] == KIM)
    fault = {"kind": "placeholder", "door": "graph", "command": "$value", "mailbox": KIM, "uid": last}
    sandbox.control.do("add_fault", **fault)
    assert mailover("ingest", KIM).code == 1
    (entry,) = mailover("quarantine", "list", "--json").json
    assert (entry["protocol"], entry["reason"], entry["fidelity"]) == (
        "graph",
        "conversion-failed",
        "graph-json",
    )
    (accepted,) = mailover(
        "quarantine", "accept", "--id", entry["id"], "--reason", "it will do", "--json"
    ).json
    assert mailover("status", KIM, "--json").json[0]["counts"]["messages"] == messages
    shown = mailover("show", accepted["message_key"]).out
    assert "graph-json" in shown
    assert "Not to be converted." in shown
    assert mailover("quarantine", "retry", KIM).code == 0, "accepted, it troubles nobody"
    sandbox.control.do("clear_faults")
    came = mailover("quarantine", "retry", KIM, "--json").json
    assert (came["resolved"], came["entries"][0]["accepted_reason"]) == (1, "it will do")
    (hit,) = mailover("search", '"not to be converted"', "--json").json
    assert mailover("show", hit["message_key"], "--json").json["fidelity"] == "mime"
    assert mailover("status", KIM, "--json").json[0]["counts"]["messages"] == messages
    assert mailover("verify", KIM, "--json").json[0]["repaired"] == []


def test_retry_exits_3_where_nothing_can_be_reached(tenant: RunningSandbox, mailover: Command) -> None:
    tenant.process.terminate()
    tenant.process.wait(timeout=20)
    said = mailover("quarantine", "retry")
    assert said.code == 3
    assert "not asked for" in said.out
    assert "Traceback" not in said.err


def test_entries_are_chosen_by_folder_reason_and_state(offered: dict[str, Any], mailover: Command) -> None:
    def native_ids(*options: str) -> list[str]:
        return [each["native_id"] for each in mailover("quarantine", "list", "--json", *options).json]

    assert native_ids() == native_ids(KIM, "--folder", "Inbox", "--state", "all") == ["1:2", "1:3"]
    assert native_ids("--reason", "placeholder") == ["1:3"]
    assert native_ids("--state", "resolved") == native_ids("--folder", "Projects") == []


def test_every_key_that_list_prints_is_documented(offered: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "quarantine.md").read_text().partition("## Why")[0]
    keys = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(keys))) == offered["1:2"].keys()


def test_a_form_is_accepted_and_shown_for_what_it_is(offered: dict[str, Any], mailover: Command) -> None:
    entry_id = offered["1:2"]["id"]
    options = ("--id", entry_id, "--reason", "its text is enough")
    accepted = mailover("quarantine", "accept", *options)
    assert accepted.code == 0
    assert f"{entry_id}: accepted by {getpass.getuser()} at " in accepted.out
    (told,) = mailover("quarantine", "accept", *options, "--json").json
    assert (told["state"], told["accepted_reason"]) == ("accepted", "its text is enough")
    shown = mailover("show", told["message_key"])
    assert "Fidelity:   graph-json" in shown.out
    assert "As JSON tells it." in shown.out
    assert mailover("show", told["message_key"], "--json").json["fidelity"] == "graph-json"
    (listed,) = mailover("quarantine", "list", "--state", "accepted", "--json").json
    assert listed == {name: value for name, value in told.items() if name != "message_key"}
    assert mailover("verify").code == 0


def test_export_writes_for_the_owner_and_overwrites_nothing(
    offered: dict[str, Any], mailover: Command, tmp_path: Path
) -> None:
    said = mailover("quarantine", "export", str(tmp_path / "out"))
    assert said.code == 0
    assert "2 entries, 2 of them with what the server sent" in said.out
    assert (tmp_path / "out" / f"{offered['1:2']['id']}.eml").read_bytes() == FORM
    again = mailover("quarantine", "export", str(tmp_path / "out"))
    assert again.code == 2
    assert "is there already" in again.err
    written = mailover("quarantine", "export", str(tmp_path / "more"), KIM, "--json").json
    assert [each["id"] for each in written] == [each["id"] for each in offered.values()]
    for path in [*(tmp_path / "out").iterdir(), *(tmp_path / "more").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0


def test_export_exits_1_where_the_lake_has_lost_a_form(
    offered: dict[str, Any], mailover: Command, tmp_path: Path
) -> None:
    for path in (tmp_path / "lake" / "control" / "fallback").rglob("*"):
        if path.is_file():
            path.unlink()
    said = mailover("quarantine", "export", str(tmp_path / "out"))
    assert said.code == 1
    assert "is lost in the lake" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "kim.aker@contoso.com"), "did you mean kim.akers@contoso.com?"),
        (("list", "--state", "closed"), "'closed' is not one of"),
        (("retry", "--id", "0123456789ab"), "nothing in quarantine has the id 0123456789ab"),
        (("accept", "--reason", "it will do"), "Missing option '--id'"),
        (("accept", "--id", "0123456789ab"), "Missing option '--reason'"),
        (("accept", "--id", "0123456789ab", "--reason", "it will do"), "nothing in quarantine has the id"),
        (("accept", "--id", "0123456789ab", "--reason", " "), "an acceptance needs a reason"),
        (("export",), "Missing argument 'DIR'"),
        (("export", "mailover.yaml"), "mailover.yaml cannot be written"),
    ],
)
def test_bad_input_gets_a_clear_error_and_exit_2(
    offered: dict[str, Any],
    mailover: Command,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answered = mailover("quarantine", *arguments)
    assert answered.code == 2
    assert said in answered.err
    assert "Traceback" not in answered.err
