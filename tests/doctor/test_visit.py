"""The whole visit over a sandbox tenant: what it does, what it prints, and how it ends."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import click
import pytest

from pipelines.cli.findings import render
from pipelines.doctor import Report, State, attempts, examine
from pipelines.doctor.coverage import FOLDERS
from pipelines.doctor.mailboxes import OPEN
from pipelines.sandbox.entra import OUTLOOK
from pipelines.sandbox.identity import SERVICE_PRINCIPAL_ID
from pipelines.sources import open_source
from pipelines.sources.base import ProtocolName
from tests.cli_fixture import Command, heed_interrupts
from tests.doctor.documented import KIM, REFUSED, WaitlessClock, borrowed
from tests.sandbox_fixture import RunningSandbox

ALEX, SALES = "alex.wilber@contoso.com", "sales@contoso.com"
IMAP = OPEN[ProtocolName.IMAP]


@pytest.fixture
def tenant(shared_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    with (
        borrowed(shared_sandbox),
        mock.patch("pipelines.cli.doctor.SystemClock", return_value=WaitlessClock()),
    ):
        yield shared_sandbox


def visit(tenant: RunningSandbox, *addresses: str, **more: Any) -> Report:
    config = tenant.config
    return examine(config, config.select(addresses), WaitlessClock(), **more)


def asked(tenant: RunningSandbox, command: str) -> int:
    """How often IMAP was asked for it, ever."""
    return int(tenant.control.do("asked")["imap"].get(command, 0))


def test_read_only_a_visit_changes_nothing_and_fetches_nothing(
    tenant: RunningSandbox, mailover: Command
) -> None:
    before = tenant.control.messages()
    said = mailover("doctor", "--json")
    assert said.code == 0, said.out
    assert tenant.control.do("attempts") == []
    assert tenant.control.messages() == before
    commands = tenant.control.do("asked")
    assert {"LOGIN", "LIST", "EXAMINE"} <= commands["imap"].keys()
    assert {"LOGIN", "STAT"} <= commands["pop3"].keys()
    assert not {"FETCH", "SELECT", "RETR", "TOP", "DELE"} & {*commands["imap"], *commands["pop3"]}
    assert not (tenant.directory / "mailover.db").exists()


def test_the_json_has_every_finding_and_the_coverage_of_each_mailbox(
    tenant: RunningSandbox, mailover: Command
) -> None:
    told = mailover("doctor", KIM, ALEX, "--json").json
    assert told["exit_code"] == 0
    assert sum(told["counts"].values()) == len(told["findings"])
    opened = [each for each in told["findings"] if each["check"] == "imap" and each["state"] == "ok"]
    assert sorted(each["subject"] for each in opened) == [ALEX, KIM]
    covered = {each["mailbox"]: each for each in told["coverage"] if each["protocol"] == "imap"}
    assert sorted(covered) == [ALEX, KIM]
    assert "Projects/Köln" in covered[KIM]["read"]
    assert {"folder": "Calendar", "why": "non-mail"} in covered[KIM]["skipped"]
    assert "in-place archive" in {each["what"] for each in covered[KIM]["unreachable"]}


def test_failure_is_contained_one_mailbox_does_not_hide_the_others(tenant: RunningSandbox) -> None:
    tenant.control.do("grant", address=ALEX, granted=False)
    report = visit(tenant)
    states = {each.subject: each.state for each in report.findings if each.check == "imap"}
    assert states == {KIM: State.OK, ALEX: State.FAILURE, SALES: State.OK}
    assert report.exit_code == 3


def test_a_missing_role_stops_every_mailbox_before_it_is_tried(tenant: RunningSandbox) -> None:
    tenant.control.do("tokens", roles={OUTLOOK: []})
    before = asked(tenant, "LOGIN")
    report = visit(tenant)
    (skipped,) = [each for each in report.findings if each.check == "imap"]
    assert skipped.state is State.SKIPPED
    assert skipped.what == "no mailbox was tried: the token lacks IMAP.AccessAsApp"
    assert asked(tenant, "LOGIN") == before
    assert report.exit_code == 3


def test_a_ca_file_that_cannot_be_read_stops_the_visit_before_any_server(tenant: RunningSandbox) -> None:
    (tenant.directory / "broken.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"
    )
    text = tenant.config_path.read_text()
    tenant.config_path.write_text(text.replace("ca.pem", "broken.pem"))
    report = visit(tenant)
    assert report.exit_code == 2
    assert [each.check for each in report.findings if each.state is State.FAILURE] == ["ca-file"]


def test_the_commands_hold_the_id_of_the_enterprise_application(tenant: RunningSandbox) -> None:
    tenant.control.do("grant", address=KIM, granted=False)
    (refused,) = [each for each in visit(tenant, KIM).findings if each.check == "imap"]
    assert f"-User '{SERVICE_PRINCIPAL_ID}'" in refused.commands[0]


def test_mailboxes_are_tried_side_by_side_and_no_more_than_configured(
    tenant: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "".join(f"  - address: user{number:02}@contoso.com\n    legacy: imap\n" for number in range(5))
    text = tenant.config_path.read_text().replace("mailboxes:\n", f"mailboxes:\n{more}")
    tenant.config_path.write_text(f"{text}ingest:\n  concurrency: 2\n")
    now, most, lock = 0, 0, threading.Lock()

    def counting(*arguments: Any) -> Any:
        nonlocal now, most
        source = open_source(*arguments)
        close = source.close
        with lock:
            now += 1
            most = max(most, now)

        def leave() -> None:
            nonlocal now
            close()
            with lock:
                now -= 1

        source.close = leave  # type: ignore[method-assign]
        return source

    tenant.control.do("add_fault", kind="delay", door="imap", command="LIST", seconds=0.2)
    monkeypatch.setattr(attempts, "open_source", counting)
    progress: list[tuple[str, int, int]] = []
    report = visit(tenant, progress=lambda *told: progress.append(told))
    assert most == 2
    assert len([each for each in report.findings if each.check == "imap"]) == 8
    # Each of them, and the one on POP3, is tried over its legacy protocol and over Graph.
    assert [told for told in progress if told[0] == "the mailboxes"] == [
        ("the mailboxes", done, 18) for done in range(19)
    ]


def test_pauses_are_cut_and_long_ones_refused(tenant: RunningSandbox) -> None:
    clock = WaitlessClock()
    tenant.control.do("grant", address=KIM, granted=False)
    examine(tenant.config, tenant.config.select([KIM]), clock)
    waited = clock.monotonic()
    assert 0 < waited <= 8, "two more tries over each protocol, at most two seconds apart"
    tenant.control.do("grant", address=KIM, granted=True)
    tenant.control.do("add_fault", kind="throttle", door="imap", command="LIST", seconds=300)
    before = asked(tenant, "LIST")
    report = examine(tenant.config, tenant.config.select([KIM]), clock)
    (throttled,) = [each for each in report.findings if each.check == "imap"]
    assert "asks to wait 300 s" in throttled.what
    assert throttled.exit_code == 3
    assert asked(tenant, "LIST") == before + 1
    assert clock.monotonic() == waited


@pytest.mark.parametrize("wrong", ["nothing", "secret", "roles", "refused", "denied", "unreachable"])
def test_secrets_stay_secret_in_all_that_doctor_prints(
    tenant: RunningSandbox,
    mailover: Command,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    all_logs: pytest.LogCaptureFixture,
) -> None:
    secret = tenant.secret
    if wrong == "secret":
        secret = "Kd98Q~the-value-of-some-other-secret"
        monkeypatch.setenv("MAILOVER_CLIENT_SECRET", secret)
    elif wrong == "roles":
        tenant.control.do("tokens", roles={OUTLOOK: []})
    elif wrong == "refused":
        tenant.control.do("add_fault", kind="refuse", door="imap", command="LOGIN")
    elif wrong == "denied":
        tenant.control.do("grant", address=REFUSED, granted=True)
    elif wrong == "unreachable":
        text = tenant.config_path.read_text()
        tenant.config_path.write_text(re.sub(r"localhost:\d+", "localhost:1", text))
    said = ""
    for form in ([], ["--json"]):
        answered = mailover("doctor", KIM, "--must-deny", REFUSED, *form)
        assert bool(answered.code) == (wrong != "nothing")
        said += answered.out + answered.err
    for text in (said, all_logs.text):
        assert secret not in text
        assert "eyJ" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("doctor", "kim.aker@contoso.com"), "did you mean kim.akers@contoso.com?"),
        (("doctor", "--must-deny", "isaiah"), "--must-deny 'isaiah' is not an e-mail address"),
        (("setup", "nobody@contoso.com"), "is not in"),
    ],
)
def test_bad_input_gets_a_clear_error_and_exit_2(
    tenant: RunningSandbox, mailover: Command, arguments: tuple[str, ...], said: str
) -> None:
    answered = mailover(*arguments)
    assert answered.code == 2
    assert said in answered.err
    assert "Traceback" not in answered.err


def test_setup_prints_a_script_and_the_same_commands_as_json(
    tenant: RunningSandbox, mailover: Command
) -> None:
    before = tenant.control.do("asked")
    printed, listed = mailover("setup", KIM), mailover("setup", KIM, "--json")
    assert (printed.code, listed.code) == (0, 0)
    lines = [line for line in printed.out.splitlines() if line and not line.startswith("#")]
    assert lines == [each["command"] for each in listed.json]
    assert {each["mailbox"] for each in listed.json} == {None, KIM}
    away = mailover("setup", KIM, "--after-cutover").out
    assert f"Remove-MailboxPermission -Identity '{KIM}'" in away
    assert tenant.control.do("asked") == before


def test_an_interruption_ends_a_visit_at_once(tenant: RunningSandbox) -> None:
    tenant.control.do("add_fault", kind="delay", door="imap", command="LIST", seconds=60)
    before = asked(tenant, "LIST")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "doctor"],
        env=tenant.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it calls nothing that threads could hold
    )
    for _ in range(600):
        if asked(tenant, "LIST") > before:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_many_findings_that_say_the_same_are_one_line() -> None:
    addresses = [f"user{number}@contoso.com" for number in range(3000)]
    report = Report(
        (
            *(IMAP.ok(address, "signed in") for address in addresses[:2000]),
            *(IMAP.failure(each, "refused", "grant", [f"Add {each}"]) for each in addresses[2000:]),
            *(FOLDERS.ok(each, f"reads folder {number}") for number, each in enumerate(addresses)),
        ),
        (),
    )
    lines = click.unstyle(render(report, 100)).splitlines()
    assert len(lines) < 50
    assert max(len(line) for line in lines) <= 100
    text = re.sub(r"\s+", " ", " ".join(lines))
    assert "user3@contoso.com, user4@contoso.com and 1,995 more: signed in" in text
    assert "user2000@contoso.com" in text
    assert "and 992 more: --json lists them" in text
    assert "and 2,990 more that need nothing: --json lists them" in text
    assert text.endswith("5,000 ok, 1,000 failure")


def test_a_command_is_never_broken_whatever_the_width() -> None:
    command = f"Add-MailboxPermission -Identity '{KIM}' -User 'object-id' -AccessRights FullAccess"
    report = Report((IMAP.failure(KIM, "refused by the server", "grant it", [command]),), ())
    assert f"PS> {command}" in render(report, 40)
