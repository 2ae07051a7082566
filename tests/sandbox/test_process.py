"""The sandbox as a process of its own: its files, its first line, its end."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from select import select

import pytest

from pipelines.auth import Resource, TokenProvider
from tests.sandbox_fixture import ROOT, RunningSandbox, Starter

COMMAND = [sys.executable, "-m", "pipelines.sandbox"]
ORPHAN = """
import subprocess, sys
child = subprocess.Popen([*sys.argv[1:], "--with-parent"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""


def test_the_configuration_it_writes_can_be_used_as_it_is(start_sandbox: Starter) -> None:
    sandbox = start_sandbox("--messages", "40", "--mailboxes", "4")
    config = sandbox.config
    legacy = {each.address: each.legacy for each in config.mailboxes}
    assert legacy == {
        "kim.akers@contoso.com": "imap",
        "alex.wilber@contoso.com": "imap",
        "sales@contoso.com": "imap",
        "adele.vance@contoso.com": "pop3",
    }
    provider = TokenProvider(config.tenant)
    assert provider.token(Resource.OUTLOOK)
    provider.close()
    messages = sandbox.control.messages()
    assert len(messages) == 40
    assert {each["mailbox"] for each in messages} == set(legacy)


def test_secrets_stay_secret_every_file_is_its_owners_alone(sandbox: RunningSandbox) -> None:
    files = [each for each in sandbox.directory.rglob("*") if each.is_file()]
    assert {"client-secret", "control-token", "app.pem", "server.pem", "mail.blob", "mailover.yaml"} <= {
        each.name for each in files
    }
    assert [each.name for each in files if stat.S_IMODE(each.stat().st_mode) != 0o600] == []
    assert stat.S_IMODE(sandbox.directory.stat().st_mode) == 0o700
    written = sandbox.config_path.read_text()
    assert sandbox.secret not in written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start_sandbox: Starter, number: signal.Signals) -> None:
    sandbox = start_sandbox("--messages", "0", "--mailboxes", "1")
    sandbox.process.send_signal(number)
    assert sandbox.process.wait(timeout=20) == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    command = [*COMMAND, "--messages", "0", "--mailboxes", "1", "--directory", str(tmp_path / "tenant")]
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        # Nobody but this pipe's other end knows when an orphan is gone.
        watched = os.pidfd_open(child)
        parent.wait(timeout=20)
    try:
        assert select([watched], [], [], 20)[0] == [watched]
    finally:
        os.close(watched)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--mail", "nothing-here"], "is not there"), (["--mail", "empty"], "holds no mail")],
)
def test_bad_input_gets_a_clear_error_from_the_command(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    ended = subprocess.run(
        [*COMMAND, "--directory", "tenant", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
