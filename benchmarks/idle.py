"""A round in which nothing has changed: what it asks of the server, and the CPU time it takes.

    python -m benchmarks.idle                   by IMAP, POP3 and Graph
    python -m benchmarks.idle --messages 2000 --json

The mailboxes lie in a sandbox tenant, a process of its own, and are read through its real doors over
TLS; one has ten times the messages of the other, in the same folders. Both were read before by
this process, which stays: its start is not counted. Requests are what the doors counted, CPU time is
this process's. A round signs in, looks at every folder and compares counts.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from benchmarks.racing import scratch
from benchmarks.switch import write_mail
from pipelines.config import MailboxConfig
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace
from tests.sandbox_fixture import RunningSandbox, running_sandbox

ADDRESS = "kim.akers@contoso.com"
FOLDERS = {"Inbox": 4, "Archive": 2, "Projects": 2, "Receipts": 1, "Travel": 1}
PROTOCOLS = ("imap", "pop3", "graph")


@contextmanager
def tenant(messages: int, protocol: str, folders: Mapping[str, int] = FOLDERS) -> Iterator[RunningSandbox]:
    """A sandbox with one mailbox, its messages spread over folders by their shares."""
    shares = {"Inbox": 1} if protocol == "pop3" else dict(folders)
    options = ["--pop3", ADDRESS] if protocol == "pop3" else []
    with scratch() as place:
        write_mail(place / "mail", messages, shares)
        options += ["--mailboxes", "1", "--mail", str(place / "mail")]
        with running_sandbox(place / "sandbox", *options) as sandbox:
            yield sandbox


@contextmanager
def opened(sandbox: RunningSandbox, protocol: str) -> Iterator[tuple[Workspace, MailboxConfig]]:
    """The tenant's workspace, its mailbox read by ``protocol``."""
    config = sandbox.config
    (mailbox,) = config.mailboxes
    if protocol == "graph":
        mailbox = mailbox.model_copy(update={"legacy": None})
        config = config.model_copy(update={"mailboxes": (mailbox,)})
    with (
        patch.dict(os.environ, {"MAILOVER_CLIENT_SECRET": sandbox.secret}),
        Workspace(config) as workspace,
    ):
        yield workspace, mailbox


def read(workspace: Workspace, mailbox: MailboxConfig) -> MailboxReport:
    report = ingest_mailbox(workspace, mailbox)
    assert report.outcome is Outcome.DONE, report.error
    return report


def requests(sandbox: RunningSandbox) -> int:
    return sum(count for door in sandbox.control.do("asked").values() for count in door.values())


def measure(protocol: str, messages: int, rounds: int) -> dict[str, list[float]]:
    """Requests, folders and CPU milliseconds of each idle round."""
    found: dict[str, list[float]] = {"requests": [], "folders": [], "cpu_ms": []}
    with tenant(messages, protocol) as sandbox, opened(sandbox, protocol) as (workspace, mailbox):
        assert read(workspace, mailbox).messages == messages
        for number in range(-2, rounds):
            asked, started = requests(sandbox), time.process_time()
            report = read(workspace, mailbox)
            taken = time.process_time() - started
            assert report.total("stored") == 0
            if number >= 0:  # the first ones warm up
                found["requests"].append(requests(sandbox) - asked)
                found["folders"].append(len(report.rounds))
                found["cpu_ms"].append(taken * 1000)
    return found


def compare(protocol: str, messages: int, rounds: int) -> dict[str, list[float]]:
    """An idle round's requests per folder and CPU time; both with ten times the messages, too."""
    some, many = (measure(protocol, count, rounds) for count in (messages, 10 * messages))
    return {
        "requests": some["requests"],
        "folders": some["folders"],
        "cpu_ms": some["cpu_ms"],
        "cpu_ms_of_ten_times": many["cpu_ms"],
        "requests_growth": [
            more / fewer for more, fewer in zip(many["requests"], some["requests"], strict=True)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=300, help="in the smaller mailbox (default 300)")
    parser.add_argument("--rounds", type=int, default=9, help="idle rounds (default 9)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = {
        protocol: {
            name: statistics.median(each)
            for name, each in compare(protocol, options.messages, options.rounds).items()
        }
        for protocol in PROTOCOLS
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for protocol, row in figures.items():
        print(
            f"{protocol:5} {row['folders']:3.0f} folders  {row['requests']:3.0f} requests"
            f"  CPU {row['cpu_ms']:5.1f} ms; of ten times the messages:"
            f" requests x{row['requests_growth']:.2f}  CPU {row['cpu_ms_of_ten_times']:5.1f} ms"
        )


if __name__ == "__main__":
    main()
