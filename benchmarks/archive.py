"""Importing an mbox: finding its messages beside the standard library's ``mailbox``, and the whole import.

    python -m benchmarks.archive                     business-like and small mail
    python -m benchmarks.archive --megabytes 2000    larger files: memory must not follow

Both readers give out the bytes of every message of the same file, and hash them. Every measurement
is a process of its own, its start included: wall time and peak memory. Rounds alternate; the
figures are medians. The import is measured twice: with everything new, and with everything known.
"""

import argparse
import hashlib
import json
import mailbox
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.mime import business_mail, small_mail
from benchmarks.racing import MEMORY
from pipelines.clock import SystemClock
from pipelines.ingest.importing import import_mail
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.sources.archive import ArchiveSource
from tests.ingest.model import KIM, configure

DIFFERENT = 500
"""Messages made for a file; beyond that they differ in a line only."""


def write_mbox(path: Path, megabytes: int, make: Callable[[int], bytes]) -> int:
    """An mbox of at least so many megabytes; the number of its messages."""
    every = [make(number).replace(b"\r\n", b"\n") for number in range(DIFFERENT)]
    count = 0
    with path.open("wb") as box:
        while box.tell() < megabytes * 1e6:
            box.write(b"From kim@contoso.com Sat Mar  1 09:00:00 2025\nX-Number: %d\n" % count)
            box.write(every[count % DIFFERENT] + b"\n")
            count += 1
    return count


def list_ours(box: Path, _into: Path) -> int:
    source = ArchiveSource([box], SystemClock())
    return source.count(source.folders()[0])


def list_standard(box: Path, _into: Path) -> int:
    found = mailbox.mbox(box, create=False)
    return len({hashlib.sha256(found.get_bytes(key)).digest() for key in found.iterkeys()})


def import_all(box: Path, into: Path) -> int:
    with Workspace(configure(into, KIM), SystemClock()) as workspace:
        report = import_mail(workspace, workspace.config.mailbox(KIM), [box])
    assert report.outcome is Outcome.DONE, report.error
    return report.total("listed")


JOBS = {
    "list, mailbox": list_standard,
    "list, mailover": list_ours,
    "import": import_all,
    "import again": import_all,
}


def measure(job: str, box: Path, into: Path, messages: int) -> tuple[float, float]:
    """Wall seconds and peak MB of a job in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.archive", "--job", job, str(box), str(into)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, int(told)) == (0, messages), (job, told)
    return time.perf_counter() - started, used.ru_maxrss / 1024


def compare(make: Callable[[int], bytes], megabytes: int, rounds: int) -> dict[str, dict[str, float]]:
    root = Path(tempfile.mkdtemp(prefix="archive-", dir=MEMORY if MEMORY.is_dir() else None))
    taken: dict[str, list[tuple[float, float]]] = {job: [] for job in JOBS}
    try:
        box = root / "Box"
        messages = write_mbox(box, megabytes, make)
        for number in range(rounds):
            into = root / str(number)
            into.mkdir()
            for job in JOBS:
                taken[job].append(measure(job, box, into, messages))
            shutil.rmtree(into)
        size = box.stat().st_size / 1e6
    finally:
        shutil.rmtree(root)
    figures = {}
    for job, each in taken.items():
        wall, peak = (statistics.median(column) for column in zip(*each, strict=True))
        figures[job] = {
            "wall_s": wall,
            "mb_per_s": size / wall,
            "messages_per_s": messages / wall,
            "peak_mb": peak,
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=200, help="size of each mbox (default 200)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job, box, into = options.job
        print(JOBS[job](Path(box), Path(into)))
        return
    makers = {"business": business_mail, "small": small_mail}
    figures = {name: compare(make, options.megabytes, options.rounds) for name, make in makers.items()}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, rows in figures.items():
        print(f"{name}: an mbox of {options.megabytes} MB")
        for job, row in rows.items():
            print(
                f"  {job:15} {row['wall_s']:7.2f} s  {row['mb_per_s']:7.1f} MB/s"
                f"  {row['messages_per_s']:7.0f} messages/s  peak {row['peak_mb']:5.0f} MB"
            )


if __name__ == "__main__":
    main()
