"""Ingestion from a sandbox tenant through the real IMAP source and the real sign-in."""

import hashlib
import json
import re
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from pathlib import Path

import pyarrow.dataset as pads
import pytest
import yaml

from pipelines.index.status import status
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace
from tests.sandbox_fixture import RunningSandbox, Starter

KIM = "kim.akers@contoso.com"
MARK = "xyzzy-the-text-of-a-private-message"


def ingest(sandbox: RunningSandbox) -> MailboxReport:
    with Workspace(sandbox.config) as workspace:
        return ingest_mailbox(workspace, workspace.config.mailbox(KIM))


def in_lake(sandbox: RunningSandbox) -> list[tuple[str, str]]:
    """Mailbox and digest of the bytes of every row of ``raw``, as computed from those bytes."""
    table = pads.dataset(sandbox.directory / "lake" / "raw", partitioning="hive").to_table()
    rows = table.select(["mailbox", "mime"]).to_pylist()
    return sorted((row["mailbox"], hashlib.sha256(row["mime"]).hexdigest()) for row in rows)


def in_tenant(sandbox: RunningSandbox, *mailboxes: str) -> list[tuple[str, str]]:
    found = {(each["mailbox"], each["sha256"]) for each in sandbox.control.messages()}
    return sorted(each for each in found if not mailboxes or each[0] in mailboxes)


def keys_once(sandbox: RunningSandbox) -> bool:
    table = pads.dataset(sandbox.directory / "lake" / "messages", partitioning="hive").to_table()
    keys = [
        (row["mailbox"], row["message_key"]) for row in table.select(["mailbox", "message_key"]).to_pylist()
    ]
    return len(keys) == len(set(keys))


def test_bytes_are_kept_and_read_only_every_message_as_delivered_and_no_attempt_to_write(
    sandbox: RunningSandbox,
) -> None:
    assert ingest(sandbox).outcome is Outcome.DONE
    assert in_lake(sandbox) == in_tenant(sandbox, KIM)
    flags = {each["uid"]: each["flags"] for each in sandbox.control.messages() if each["mailbox"] == KIM}
    assert sandbox.control.do("attempts") == []
    ingest(sandbox)
    assert flags == {
        each["uid"]: each["flags"] for each in sandbox.control.messages() if each["mailbox"] == KIM
    }


@pytest.mark.parametrize("kind", ["expire", "drop", "empty"])
def test_nothing_lost_a_fault_in_the_middle_of_a_fetch(sandbox: RunningSandbox, kind: str) -> None:
    sandbox.control.do(
        "add_fault",
        kind=kind,
        door="imap",
        command="FETCH",
        mailbox=KIM,
        probability=0.3,
        times=4,
        bytes=2000,
    )
    ingest(sandbox)
    sandbox.control.do("clear_faults")
    assert ingest(sandbox).outcome in (Outcome.DONE, Outcome.ATTENTION)
    assert set(in_lake(sandbox)) <= set(in_tenant(sandbox, KIM)), "nothing altered was taken for mail"
    with Workspace(sandbox.config) as workspace:
        (state,) = status(workspace.index, [KIM], workspace.clock.now())
    assert len(in_lake(sandbox)) + state.quarantine == len(in_tenant(sandbox, KIM))
    assert keys_once(sandbox)


def test_nothing_lost_a_token_that_dies_mid_fetch(start_sandbox: Starter) -> None:
    sandbox = start_sandbox("--messages", "600")
    sandbox.control.do("tokens", lifetime=302)
    sandbox.control.do("add_fault", kind="expire", door="imap", command="FETCH", mailbox=KIM, times=3)
    before = sandbox.control.do("tokens")["issued"]
    assert ingest(sandbox).outcome is Outcome.DONE
    assert sandbox.control.do("tokens")["issued"] > before + 1, "the source asked for new ones"
    assert in_lake(sandbox) == in_tenant(sandbox, KIM)


def test_one_writer_two_ingests_at_once_leave_everything_once(start_sandbox: Starter) -> None:
    sandbox = start_sandbox("--messages", "900")
    command = [sys.executable, "-m", "pipelines.cli", "ingest", "--json"]
    runs = [
        subprocess.Popen(command, env=sandbox.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outcomes: list[str] = []
    for run in runs:
        printed, _ = run.communicate(timeout=120)
        assert run.returncode == 0
        outcomes += [each["outcome"] for each in json.loads(printed)["mailboxes"]]
    assert outcomes.count("done") >= 3
    assert set(outcomes) <= {"done", "busy"}
    assert in_lake(sandbox) == in_tenant(sandbox)
    assert keys_once(sandbox)


def test_one_writer_a_mailbox_that_another_process_reads_is_left_to_it(sandbox: RunningSandbox) -> None:
    """Graph's limits for a mailbox hold across processes, since only the lease's holder asks for anything."""
    config = yaml.safe_load(sandbox.config_path.read_text())
    config["mailboxes"] = [{"address": KIM}]
    sandbox.config_path.write_text(yaml.safe_dump(config))
    sandbox.control.do("add_fault", kind="delay", door="graph", command="$value", seconds=600)
    command = [sys.executable, "-m", "pipelines.cli", "ingest", "--json"]
    reader = subprocess.Popen(command, env=sandbox.environment, stdout=subprocess.DEVNULL)
    try:
        # All that Graph would answer at a time.
        while sandbox.control.do("asked")["graph"].get("$VALUE", 0) < 4:
            assert reader.poll() is None
            time.sleep(0.05)
        before = sandbox.control.do("asked")["graph"]
        second = subprocess.run(command, env=sandbox.environment, capture_output=True, text=True, check=False)
        (told,) = json.loads(second.stdout)["mailboxes"]
        assert (second.returncode, told["outcome"]) == (0, "busy")
        assert f"process {reader.pid} on" in str(told)
        assert sandbox.control.do("asked")["graph"] == before
    finally:
        reader.kill()
        reader.wait(timeout=20)


def forms_of(secret: str) -> set[bytes]:
    """A secret as it is, and in base64 at any offset."""
    forms = {secret.encode()}
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + secret.encode())
        forms.add(encoded[4:-4])
    return forms


def test_secrets_stay_secret_in_every_file_log_and_event(start_sandbox: Starter) -> None:
    sandbox = start_sandbox("--messages", "60")
    sandbox.control.deliver(
        KIM, "Inbox", f"Subject: private\r\nMessage-ID: <private@contoso.com>\r\n\r\n{MARK}\r\n".encode()
    )
    sandbox.control.do(
        "add_fault", kind="drop", door="imap", command="FETCH", mailbox=KIM, times=1, bytes=400
    )
    sandbox.control.do("add_fault", kind="expire", door="imap", command="FETCH", times=2)
    home = sandbox.directory / "dagster"
    home.mkdir()
    environment = {**sandbox.environment, "DAGSTER_HOME": str(home)}
    said = b""
    job = ["-m", "dagster", "job", "execute", "-m", "assets.definitions", "-j"]
    for arguments in (
        [*job, "ingest"],
        [*job, "check"],
        ["-m", "pipelines.cli", "ingest"],
        ["-m", "pipelines.cli", "status", "--json"],
    ):
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
        said += done.stdout + done.stderr
    environment["MAILOVER_CLIENT_SECRET"] = wrong = "another-secret-that-is-wrong"
    for arguments in ([*job, "ingest"], ["-m", "pipelines.cli", "ingest"]):
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
        assert done.returncode != 0
        said += done.stdout + done.stderr
    assert len(in_lake(sandbox)) > 20, "the run did its work"
    own = {"client-secret", "app.pem", "server.pem", "control-token", "mail.blob"}
    written = {
        path: path.read_bytes()
        for path in sandbox.directory.rglob("*")
        if path.is_file() and path.name not in own
    }
    assert any(path.is_relative_to(home) for path in written)
    token = re.compile(rb"eyJ(?:hbGci|0eXAi)[\w-]+\.|ZXlKaGJHY2l|auth=Bearer|YXV0aD1CZWFyZXI")
    for place, content in [("the output", said), *((str(path), text) for path, text in written.items())]:
        assert not token.search(content), place
        for form in forms_of(sandbox.secret) | forms_of(wrong):
            assert form not in content, place
        if "/lake/" not in place and not place.endswith((".db", ".db-wal")):
            assert MARK.encode() not in content, place


@pytest.mark.parametrize("script", ["measuring.py", "measuring_import.py"])
def test_bounded_memory_a_larger_mailbox_needs_no_more(tmp_path: Path, script: str) -> None:
    peaks = [_peak(script, tmp_path / str(messages), messages) for messages in (300, 1200)]
    assert peaks[1] < peaks[0] * 1.25, peaks


def _peak(script: str, folder: Path, messages: int) -> int:
    """Peak of traced and of Arrow's memory of a pass, in a process of its own."""
    folder.mkdir()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "tests" / "ingest" / script), str(folder), str(messages)],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_a_round_without_news_costs_by_folders_not_by_messages(sandbox: RunningSandbox) -> None:
    def asked() -> Counter[str]:
        return Counter(sandbox.control.do("asked")["imap"])

    costs = []
    for turn in range(2):
        for number in range(30):
            mime = b"Message-ID: <%d.%d@contoso.com>\r\n\r\nnew\r\n" % (turn, number)
            sandbox.control.deliver(KIM, "Inbox", mime)
        assert ingest(sandbox).messages >= 30
        before = asked()
        report = ingest(sandbox)
        assert (report.outcome, report.downloads) == (Outcome.DONE, 0)
        costs.append(asked() - before)
    assert costs[0] == costs[1]
    once = dict.fromkeys(("CAPABILITY", "LOGIN", "LIST", "LOGOUT"), 1)
    assert costs[0] == once | {"EXAMINE": len(report.rounds)}
