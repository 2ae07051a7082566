"""A process that reads the one mailbox of a configuration from nothing, and tells its peak of memory.

    python -m benchmarks.reading imap

It imports nothing but what reading takes. By Graph the waits that keep to its limits pass at once.
"""

import re
import sys
from itertools import chain
from pathlib import Path

from pipelines.clock import SystemClock
from pipelines.config import load_config
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace


class WaitlessClock(SystemClock):
    """Waits pass at once."""

    passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def peak_kilobytes() -> int:
    """Of this process and of those it has started. ``wait4`` counts what their parent held then, too."""
    started = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    peak = 0
    for pid in ("self", *chain.from_iterable(started)):
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        peak += int(found[1])
    return peak


def main() -> None:
    (protocol,) = sys.argv[1:]
    config = load_config()
    (mailbox,) = config.mailboxes
    if protocol == "graph":
        mailbox = mailbox.model_copy(update={"legacy": None})
        config = config.model_copy(update={"mailboxes": (mailbox,)})
    with Workspace(config, WaitlessClock()) as workspace:
        report = ingest_mailbox(workspace, mailbox)
        assert report.outcome is Outcome.DONE, report.folder_errors or report.error
        print(report.messages, peak_kilobytes())


if __name__ == "__main__":
    main()
