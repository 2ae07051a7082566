"""A mailbox on its way to Graph and back: bodies downloaded again, requests, seconds and memory of each step.

    python -m benchmarks.switch                        20,000 messages by IMAP
    python -m benchmarks.switch --messages 100000
    python -m benchmarks.switch --legacy pop3 --json

The mailbox lies in a sandbox tenant, a process of its own, and is read through its real doors over
TLS: small mail, by IMAP in three folders, by POP3 in the Inbox. Each step is a process of its own,
its start included. Requests are what the doors counted; IMAP counts a listing once for each message.
Nothing is delivered meanwhile, so every body that a later step downloads is one downloaded again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from benchmarks.racing import MEMORY
from pipelines.cutover.passes import read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Result, switch
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace, open_workspace
from tests.sandbox_fixture import RunningSandbox, running_sandbox

ADDRESS = "kim.akers@contoso.com"
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SHARES = {"imap": {"Inbox": 6, "Archive": 3, "Projects": 1}, "pop3": {"Inbox": 1}}
BODIES = (("imap", "FETCH"), ("pop3", "RETR"), ("graph", "$VALUE"))
"""What each door counts when a message's content is asked for."""


def letter(number: int) -> bytes:
    """A small message of its own, a minute after the one before it."""
    sent_at = format_datetime(FIRST + timedelta(minutes=number))
    words = " ".join(f"word{number * 31 % (7 + place)}" for place in range(60))
    return (
        f"Received: from mail.fabrikam.example by contoso.com id {number:08d}; {sent_at}\n"
        f"Message-ID: <{number}@fabrikam.example>\nFrom: Lee Gu <lee.gu@fabrikam.example>\n"
        f"To: Kim Akers <{ADDRESS}>\nSubject: Figures {number}\nDate: {sent_at}\n"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nMessage {number}: {words}\n"
    ).encode()


def write_mail(folder: Path, messages: int, shares: dict[str, int]) -> None:
    """Messages in an mbox per folder of the mailbox."""
    folder.mkdir()
    number, whole = 0, sum(shares.values())
    for name, share in shares.items():
        with (folder / f"{name}.mbox").open("wb") as box:
            for number in range(number, number + messages * share // whole):  # noqa: B020 - goes on
                box.write(b"From lee.gu@fabrikam.example Mon Jan  1 00:00:00 2024\n" + letter(number) + b"\n")
        number += 1


def take(to: Phase) -> Callable[[Workspace], None]:
    """A switch of the mailbox."""

    def change(workspace: Workspace) -> None:
        order = Order(to, "a benchmark", "it is measured")
        done = switch(workspace, workspace.config.mailbox(ADDRESS), order)
        assert done.result is Result.DONE, done.why
        if to is Phase.GRAPH:
            assert done.parity
            assert done.parity.grade == "perfect", done.parity.differences[:3]

    return change


def read(workspace: Workspace) -> None:
    """A pass as the mailbox's phase says."""
    report = read_mailbox(workspace, workspace.config.mailbox(ADDRESS))
    assert report.outcome is Outcome.DONE, report.error


STEPS: dict[str, Callable[[Workspace], None]] = {
    "ingest by the legacy protocol": read,
    "switch to shadow": take(Phase.SHADOW),
    "first comparison": read,
    "second comparison": read,
    "switch to graph": take(Phase.GRAPH),
    "pass by Graph": read,
    "back to legacy": take(Phase.LEGACY),
    "pass by the legacy protocol": read,
}


def run_step(name: str) -> None:
    with open_workspace() as workspace:
        STEPS[name](workspace)


def measure(name: str, sandbox: RunningSandbox) -> dict[str, Any]:
    """A step in a process of its own."""
    before, started = sandbox.control.do("asked"), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.switch", "--step", name], env=sandbox.environment
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, name
    requests = {
        f"{door} {command}": count - before[door].get(command, 0)
        for door, commands in sandbox.control.do("asked").items()
        for command, count in commands.items()
        if count > before[door].get(command, 0)
    }
    return {
        "seconds": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "bodies": sum(requests.get(f"{door} {command}", 0) for door, command in BODIES),
        "requests": requests,
    }


@contextmanager
def tenant(messages: int, legacy: str) -> Iterator[RunningSandbox]:
    place = Path(tempfile.mkdtemp(prefix="switch-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        write_mail(place / "mail", messages, SHARES[legacy])
        options = ["--mailboxes", "1", "--mail", str(place / "mail")]
        options += ["--pop3", ADDRESS] if legacy == "pop3" else []
        with running_sandbox(place / "sandbox", *options) as sandbox:
            yield sandbox
    finally:
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000, help="in the mailbox (default 20000)")
    parser.add_argument("--legacy", choices=list(SHARES), default="imap")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step)
        return
    figures: dict[str, dict[str, Any]] = {}
    with tenant(options.messages, options.legacy) as sandbox:
        for name in STEPS:
            figures[name] = step = measure(name, sandbox)
            if not options.json:
                print(
                    f"{name:28} {step['seconds']:7.1f} s  CPU {step['cpu_s']:7.1f} s"
                    f"  peak {step['peak_mb']:5.0f} MB  bodies {step['bodies']:6}",
                    flush=True,
                )
                print("    " + ", ".join(f"{what} {count}" for what, count in step["requests"].items()))
    again = sum(each["bodies"] for each in figures.values()) - figures[next(iter(STEPS))]["bodies"]
    if options.json:
        print(json.dumps({"messages": options.messages, "bodies_again": again, "steps": figures}, indent=2))
    else:
        print(f"bodies downloaded again: {again}")


if __name__ == "__main__":
    main()
