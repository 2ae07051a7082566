"""Records that another process makes: the same as here, and none lost with the process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pipelines.mime.process import MimeProcess, MimeProcesses, make_record
from tests.ingest.model import mail

HOSTILE = [b"", b"\0" * 50, b"\r\n\r\n", b"From: \xff\xfe\r\nDate: never\r\n\r\n" + bytes(range(256)) * 40]
MANY = 5_000


@pytest.fixture
def process() -> Iterator[MimeProcess]:
    one = MimeProcess()
    yield one
    one.close()


def is_running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def ends(pid: int) -> bool:
    """Whether the process ends within some seconds."""
    for _ in range(200):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def test_its_records_are_those_made_here(process: MimeProcess) -> None:
    mimes = [*map(mail, range(200)), *HOSTILE]
    assert process.ask(mimes)
    assert process.answer() == [make_record(mime) for mime in mimes]


def test_it_answers_in_the_order_it_was_asked_however_much_it_was_asked_before(process: MimeProcess) -> None:
    asked = [[mail(10 * number + each) for each in range(10)] for number in range(400)]
    assert all(process.ask(mimes) for mimes in asked)
    for mimes in asked:
        assert process.answer() == [make_record(mime) for mime in mimes]


def test_it_tells_when_it_has_started(process: MimeProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    assert not process.has_started
    os.kill(process.pid, signal.SIGCONT)
    assert process.ask([mail(1)])
    assert process.answer() == [make_record(mail(1))]
    assert process.has_started


def test_one_that_ends_before_it_has_started_is_not_waited_for(process: MimeProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.answer() is None
    assert process.has_started
    assert process.ended


def test_what_it_was_asked_is_not_answered_when_it_has_ended(process: MimeProcess) -> None:
    process.ask([mail(1)])
    os.kill(process.pid, signal.SIGKILL)
    while process.answer():
        pass
    assert process.ended
    assert not process.ask([mail(2)])
    assert process.answer() is None


def test_it_ends_with_the_process_that_started_it() -> None:
    started = (
        "from pipelines.mime.process import MimeProcess\n"
        "import os, signal\n"
        "one = MimeProcess()\n"
        "one.ask([b'Subject: ' + bytes([64]) * 100_000] * 20)\n"
        "print(one.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert ends(int(parent.stdout))


def test_secrets_stay_secret_its_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", "s3cret-of-the-app")
    process = MimeProcess()
    process.ask([mail(1)])
    assert process.answer()
    assert b"s3cret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    process.close()


def test_no_key_of_a_terminal_reaches_it(process: MimeProcess) -> None:
    assert os.getsid(process.pid) == process.pid


def test_one_that_was_borrowed_is_there_for_the_next() -> None:
    processes = MimeProcesses(1)
    with processes.borrowed(MANY) as first:
        assert first
        with processes.borrowed(MANY) as none:
            assert none is None
    with processes.borrowed(MANY) as again:
        assert again is first
    processes.close()
    assert not is_running(first.pid)


def test_one_that_was_left_in_the_middle_is_ended_and_another_started() -> None:
    processes = MimeProcesses(1)
    left = ExitStack()
    first = left.enter_context(processes.borrowed(MANY))
    assert first
    first.ask([mail(1)])
    error = ZeroDivisionError()
    assert not left.__exit__(ZeroDivisionError, error, None)
    assert not is_running(first.pid)
    with processes.borrowed(MANY) as second:
        assert second
        second.ask([mail(2)])
        assert second.answer() == [make_record(mail(2))]
    processes.close()


def test_none_is_started_for_few_messages_or_where_there_is_no_core_for_it() -> None:
    for processes, count in ((MimeProcesses(1), 999), (MimeProcesses(0), MANY)):
        with processes.borrowed(count) as none:
            assert none is None
