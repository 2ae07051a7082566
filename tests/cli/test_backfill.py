"""``mailover backfill`` over a sandbox tenant."""

import hashlib
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pyarrow.dataset as pads
import pytest
from rich.console import Console

from pipelines.cli import backfill as command_module
from pipelines.clock import SystemClock
from pipelines.index.changes import RoundAccount
from pipelines.index.lease import hold
from pipelines.ingest import backfill
from pipelines.ingest.advance import Advance
from pipelines.ingest.span import Span
from pipelines.ingest.workspace import Workspace
from tests.cli_fixture import Command, heed_interrupts
from tests.sandbox_fixture import RunningSandbox

KIM, ALEX, SALES = "kim.akers@contoso.com", "alex.wilber@contoso.com", "sales@contoso.com"
YEAR = ("--from", "2025-01-15", "--to", "2026-01-01")


@pytest.fixture
def tenant(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    monkeypatch.setenv("MAILOVER_CONFIG", str(sandbox.config_path))
    return sandbox


def in_lake(tenant: RunningSandbox) -> list[str]:
    table = pads.dataset(tenant.directory / "lake" / "raw", partitioning="hive").to_table()
    return sorted(hashlib.sha256(mime).hexdigest() for mime in table.column("mime").to_pylist())


def in_tenant(tenant: RunningSandbox, *mailboxes: str) -> list[str]:
    return sorted(
        each["sha256"]
        for each in tenant.control.messages()
        if each["mailbox"] in mailboxes and "2025-01-15" <= each["received_at"] < "2026-01-01"
    )


def test_nothing_lost_exactly_what_was_received_in_the_span_is_in_the_lake(
    tenant: RunningSandbox, mailover: Command
) -> None:
    said = mailover("backfill", KIM, SALES, *YEAR, "--json")
    assert said.code == 0
    assert in_lake(tenant) == in_tenant(tenant, KIM, SALES)
    reports = {each["mailbox"]: each for each in said.json["mailboxes"]}
    months = reports[KIM]["months"]
    assert [months[0]["from"], months[-1]["from"], len(months)] == ["2025-12-01", "2025-01-15", 12]
    assert sum(each["stored"] for each in months) == reports[KIM]["messages"]
    assert tenant.control.do("attempts") == []


def test_nothing_twice_a_backfill_and_ingest_one_after_the_other(
    tenant: RunningSandbox, mailover: Command
) -> None:
    first = mailover("backfill", KIM, *YEAR, "--json").json["mailboxes"][0]
    rest = mailover("ingest", KIM, "--json").json["mailboxes"][0]
    assert first["messages"] > 10
    assert rest["downloads"] + first["downloads"] == len(in_lake(tenant))
    again = mailover("backfill", KIM, *YEAR, "--json").json["mailboxes"][0]
    assert (again["downloads"], again["messages"]) == (0, 0)


def test_nothing_lost_nothing_twice_a_mailbox_on_graph(tenant: RunningSandbox, mailover: Command) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(text.replace(f"{KIM}\n    legacy: imap", KIM))
    first = mailover("backfill", KIM, *YEAR, "--json").json["mailboxes"][0]
    assert (first["protocol"], first["messages"]) == ("graph", len(in_tenant(tenant, KIM)))
    rest = mailover("ingest", KIM, "--json").json["mailboxes"][0]
    assert rest["downloads"] + first["downloads"] == len(in_lake(tenant))
    again = mailover("backfill", KIM, *YEAR, "--json").json["mailboxes"][0]
    assert (again["downloads"], again["messages"]) == (0, 0)


def test_the_table_names_the_mailbox_its_months_and_its_messages(
    tenant: RunningSandbox, mailover: Command
) -> None:
    said = mailover("backfill", KIM, *YEAR)
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if line.startswith(KIM))
    assert row.split()[1:6] == ["done", "12", "of", "12", str(len(in_tenant(tenant, KIM)))]


def test_quarantine_makes_backfill_exit_1(tenant: RunningSandbox, mailover: Command) -> None:
    message = next(
        each
        for each in tenant.control.messages()
        if each["mailbox"] == KIM and each["sha256"] in in_tenant(tenant, KIM)
    )
    tenant.control.do(
        "add_fault", kind="placeholder", door="imap", command="FETCH", mailbox=KIM, uid=message["uid"]
    )
    said = mailover("backfill", KIM, *YEAR, "--json")
    assert said.code == 1
    assert sum(each["quarantined"] for each in said.json["mailboxes"][0]["months"]) >= 1


def test_one_writer_a_mailbox_that_stays_taken_is_named_and_exits_1(
    tenant: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PATIENCE", 0.0)
    with Workspace(tenant.config) as workspace, hold(workspace.index, KIM, SystemClock()):
        said = mailover("backfill", KIM, SALES, *YEAR)
    assert said.code == 1
    assert f"{KIM}: being written by process" in said.err
    assert "Run the same command again" in said.err
    assert in_lake(tenant) == in_tenant(tenant, SALES)


def test_a_wait_for_another_run_is_said(
    tenant: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PATIENCE", 0.1)
    monkeypatch.setattr(backfill, "LOOK_AGAIN", 0.2)
    with Workspace(tenant.config) as workspace, hold(workspace.index, KIM, SystemClock()):
        said = mailover("backfill", KIM, *YEAR)
    assert f"{KIM}: another run is writing it; waiting for that" in said.err


def test_interrupted_it_ends_at_once_and_the_next_run_goes_on(
    tenant: RunningSandbox, mailover: Command
) -> None:
    for _ in range(5):
        tenant.control.do("add_fault", kind="throttle", door="imap", command="FETCH", seconds=200, times=1)
    command = [sys.executable, "-m", "pipelines.cli", "backfill", KIM, *YEAR]
    running = subprocess.Popen(
        command,
        env=tenant.environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it calls nothing that threads could hold
    )
    try:
        until = time.monotonic() + 60
        while "SEARCH" not in tenant.control.do("asked")["imap"] and time.monotonic() < until:
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1]
    finally:
        running.kill()
    assert running.returncode == 130
    assert "the next run goes on" in said
    tenant.control.do("clear_faults")
    assert mailover("backfill", KIM, *YEAR).code == 0
    assert in_lake(tenant) == in_tenant(tenant, KIM)


def test_bad_input_gets_a_clear_error_and_exit_2(tenant: RunningSandbox, mailover: Command) -> None:
    for arguments, expected in [
        ((KIM, "--from", "2025-02-01", "--to", "2025-01-01"), "--from 2025-02-01 is later than --to 2025-01"),
        ((KIM, "--from", "yesterday", "--to", "2025-02-01"), "--from yesterday is not a date"),
        ((KIM, "--from", "2025-02-01"), "Missing option '--to'"),
        (("--from", "2025-02-01", "--to", "2025-03-01"), "Missing argument 'MAILBOXES...'"),
        (("kim.aker@contoso.com", *YEAR), f"did you mean {KIM}?"),
    ]:
        said = mailover("backfill", *arguments)
        assert said.code == 2
        assert expected in said.err
        assert "Traceback" not in said.err


def test_a_mailbox_on_pop3_says_why_it_has_no_windows(tenant: RunningSandbox, mailover: Command) -> None:
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(text.replace(f"{ALEX}\n    legacy: imap", f"{ALEX}\n    legacy: pop3"))
    alone = mailover("backfill", ALEX, *YEAR)
    assert alone.code == 2
    assert alone.err.startswith(f"{ALEX}: POP3 can list no window of dates")
    assert "Run the same command again" not in alone.err
    beside = mailover("backfill", ALEX, KIM, *YEAR, "--json")
    assert beside.code == 1
    outcomes = {each["mailbox"]: each["outcome"] for each in beside.json["mailboxes"]}
    assert outcomes == {ALEX: "failed", KIM: "done"}


class Stopwatch(SystemClock):
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


def test_progress_says_what_is_done_how_fast_and_how_long_yet() -> None:
    clock = Stopwatch()
    advance = Advance(KIM, clock, months=4)
    march = Span(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC))
    advance.enter_month(march, folders=2)
    account = RoundAccount(1, "Inbox", clock.now(), listed=1500, stored=700, known=50, bytes=12_300_000)
    advance.enter_folder(account)
    clock.at = 60.0
    assert command_module.describe(advance) == (
        f"{KIM}: 2025-03 Inbox, 750 of 1,500 messages, 12.3 MB, 12/s, 0 of 4 months, about 15 min left"
    )


def test_progress_is_drawn_on_a_terminal(
    tenant: RunningSandbox, mailover: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Console(stderr=True, highlight=False, force_terminal=True, width=160, _environ={"TERM": "xterm"})
    monkeypatch.setattr(command_module, "stderr", lambda: drawn)
    said = mailover("backfill", KIM, *YEAR)
    assert said.code == 0
    assert f"{KIM}: " in said.err
    assert "months" in said.err
