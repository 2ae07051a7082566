"""Every command over a sandbox tenant: what it prints, and how it exits."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.ingest import exit_code
from pipelines.errors import LakeMismatchError, LeaseHeldError, MailboxRefusedError
from pipelines.ingest.report import MailboxReport, Outcome
from tests.cli_fixture import Command
from tests.sandbox_fixture import RunningSandbox

KIM, ALEX, SALES = "kim.akers@contoso.com", "alex.wilber@contoso.com", "sales@contoso.com"
REFUSED = "isaiah.langer@contoso.com"


@pytest.fixture
def tenant(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    return sandbox


def test_ingest_status_search_show_and_verify_tell_one_story(
    tenant: RunningSandbox, mailover: Command
) -> None:
    ingested = mailover("ingest", "--json")
    assert ingested.code == 0
    reports = {each["mailbox"]: each for each in ingested.json["mailboxes"]}
    assert sorted(reports) == [ALEX, KIM, SALES]
    assert sum(each["messages"] for each in reports.values()) == 120
    assert all(folder["closed"] for each in reports.values() for folder in each["folders"])

    states = {each["address"]: each for each in mailover("status", "--json").json}
    assert states[KIM]["phase"] == "legacy"
    assert states[KIM]["counts"]["messages"] == reports[KIM]["messages"]
    assert states[KIM]["quarantine"] == 0
    assert states[KIM]["lag"] >= 0
    assert states[KIM]["skipped_folders"]["Calendar"]

    hits = mailover("search", "from:megan", "--limit", "3", "--json").json
    assert len(hits) == 3
    assert all("megan.bowen@contoso.com" in hit["from"] for hit in hits)

    key = hits[0]["message_key"]
    shown = mailover("show", key[:10], "--json").json
    assert (shown["message_key"], shown["mailbox"]) == (key, hits[0]["mailbox"])
    assert mailover("show", key[:10]).out.startswith("From:")

    verified = mailover("verify", "--json")
    assert verified.code == 0
    assert sum(each["messages"] for each in verified.json) == 120


def test_bytes_are_kept_show_raw_gives_what_the_server_delivered(
    tenant: RunningSandbox, mailover: Command
) -> None:
    mailover("ingest", KIM)
    (hit,) = mailover("search", "has:attachment", "mailbox:" + KIM, "--limit", "1", "--json").json
    command = [sys.executable, "-m", "pipelines.cli", "show", hit["message_key"], "--raw"]
    raw = subprocess.run(command, env=tenant.environment, capture_output=True, check=True).stdout
    delivered = {each["sha256"] for each in tenant.control.messages() if each["mailbox"] == KIM}
    assert hashlib.sha256(raw).hexdigest() in delivered


@pytest.mark.parametrize("command", ["ingest", "status", "verify"])
def test_a_table_names_every_mailbox(tenant: RunningSandbox, mailover: Command, command: str) -> None:
    mailover("ingest")
    said = mailover(command)
    assert said.code == 0
    for address in (KIM, ALEX, SALES):
        assert address in said.out


def test_nothing_found_is_said_and_no_error(tenant: RunningSandbox, mailover: Command) -> None:
    mailover("ingest", KIM)
    said = mailover("search", "zzzzqqqq")
    assert (said.code, said.out, said.err) == (0, "", "nothing found\n")


def configure_refused(tenant: RunningSandbox) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(f"{text}  - address: {REFUSED}\n    legacy: imap\n")


def test_failure_is_contained_a_mailbox_out_of_scope_beside_others_exits_1(
    tenant: RunningSandbox, mailover: Command
) -> None:
    configure_refused(tenant)
    said = mailover("ingest", "--json")
    assert said.code == 1
    reports = {each["mailbox"]: each for each in said.json["mailboxes"]}
    assert reports[REFUSED]["outcome"] == "failed"
    assert "IMAP.AccessAsApp" in reports[REFUSED]["error"]
    assert reports[KIM]["outcome"] == "done"
    status = mailover("status", REFUSED)
    assert status.code == 1
    assert REFUSED in status.err


def test_nothing_but_refused_mailboxes_exits_3() -> None:
    refused = MailboxReport(REFUSED, "imap", Outcome.FAILED, error=MailboxRefusedError("no"))
    read = MailboxReport(KIM, "imap")
    busy = MailboxReport(KIM, "imap", Outcome.BUSY, error=LeaseHeldError("being written"))
    damaged = MailboxReport(ALEX, "imap", Outcome.FAILED, error=LakeMismatchError("too old"))
    assert exit_code([refused]) == 3
    assert exit_code([refused, refused]) == 3
    assert exit_code([refused, read]) == 1
    assert exit_code([refused, damaged]) == 1
    assert exit_code([read, busy]) == 0


def test_a_tenant_that_cannot_be_reached_exits_3(tenant: RunningSandbox, mailover: Command) -> None:
    tenant.process.terminate()
    tenant.process.wait(timeout=20)
    said = mailover("ingest", KIM)
    assert said.code == 3
    assert "Traceback" not in said.err


def test_a_wrong_secret_exits_3_and_is_not_repeated(
    tenant: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", "not-the-secret-of-this-tenant")
    said = mailover("ingest", KIM)
    assert said.code == 3
    assert "AADSTS7000215" in said.err
    assert "not-the-secret" not in said.out + said.err


def test_quarantine_makes_ingest_and_status_exit_1(tenant: RunningSandbox, mailover: Command) -> None:
    uid = next(
        each["uid"]
        for each in tenant.control.messages()
        if each["mailbox"] == KIM and each["folder"] == "Inbox"
    )
    tenant.control.do("add_fault", kind="placeholder", door="imap", command="FETCH", mailbox=KIM, uid=uid)
    said = mailover("ingest", KIM, "--json")
    assert said.code == 1
    assert sum(each["quarantined"] for each in said.json["mailboxes"][0]["folders"]) >= 1
    assert mailover("status", KIM).code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ingest", "kim.aker@contoso.com"), "did you mean kim.akers@contoso.com?"),
        (("status", "nobody@nowhere.example"), "is not in"),
        (("search",), "Missing argument"),
        (("search", "form:kim"), "did you mean from:?"),
        (("show", "xyz"), "'xyz' is not a message key"),
        (("show", "abcdef0123"), "no message has the key abcdef0123"),
        (("ingest", "--jsno"), "No such option"),
        (("demo", "--mail", "/nowhere/at/all"), "is not there"),
    ],
)
def test_bad_input_gets_a_clear_error_and_exit_2(
    tenant: RunningSandbox,
    mailover: Command,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answered = mailover(*arguments)
    assert answered.code == 2
    assert said in answered.err
    assert "Traceback" not in answered.err


def test_bad_input_gets_a_clear_error_without_a_configuration(
    mailover: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILOVER_CONFIG", raising=False)
    said = mailover("status")
    assert said.code == 2
    assert "mailover init" in said.err


def test_init_writes_a_configuration_once(
    mailover: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAILOVER_CONFIG", raising=False)
    assert mailover("init").code == 0
    written = (tmp_path / "mailover.yaml").read_bytes()
    assert mailover("init").code == 2
    assert (tmp_path / "mailover.yaml").read_bytes() == written


def test_failure_is_contained_ingest_failed_reads_only_what_failed(
    tenant: RunningSandbox, mailover: Command
) -> None:
    tenant.control.do("grant", address=KIM, granted=False)
    first = mailover("ingest", "--json")
    assert first.code == 1
    outcomes = {each["mailbox"]: each["outcome"] for each in first.json["mailboxes"]}
    assert outcomes == {ALEX: "done", KIM: "failed", SALES: "done"}
    tenant.control.do("grant", address=KIM, granted=True)
    again = mailover("ingest", "--failed", "--json")
    assert (again.code, [each["mailbox"] for each in again.json["mailboxes"]]) == (0, [KIM])
    nothing = mailover("ingest", "--failed", "--json")
    assert (nothing.code, nothing.json["mailboxes"]) == (0, [])
