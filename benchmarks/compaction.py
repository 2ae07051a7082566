"""A year of one mailbox in rounds of 15 minutes, compacted once a day: how many files, how much rewriting.

    python -m benchmarks.compaction                    the first 14 days
    python -m benchmarks.compaction --days 365 --json  35,040 rounds
    python -m benchmarks.compaction --days 365 --business

Files, commits and compaction are the real ones, on virtual time; there is no server. Each round
finds 0 to 3 new messages, at 4 of 6 odds any. "Files" are those of one dataset and year; "rewritten"
is what compaction has written for each byte, and each row, that is stored in the end.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.mime import business_mail, small_mail
from benchmarks.racing import MEMORY
from pipelines.index.changes import RoundAccount
from pipelines.index.lease import hold
from pipelines.index.mailboxes import record_folders
from pipelines.ingest.batch import Batch
from pipelines.ingest.checks import nothing_twice
from pipelines.ingest.compaction import compact, limit_of
from pipelines.ingest.ownership import claim
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset
from pipelines.lake.tiers import most_open_files
from pipelines.mime.process import make_record
from pipelines.sources.base import Entry, Fetched
from tests.ingest.model import KIM, configure

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)
ROUND = timedelta(minutes=15)
ROUNDS_A_DAY = 96
NEW = (0, 0, 1, 1, 2, 3)


class Calendar:
    """Time that passes round by round."""

    def __init__(self) -> None:
        self.time = NEW_YEAR

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Year:
    """What the days have come to."""

    messages: int = 0
    files_made: int = 0
    most_files: int = 0
    most_files_compacted: int = 0
    rows_rewritten: int = 0
    bytes_rewritten: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of each day's compaction."""


def a_day(
    workspace: Workspace, calendar: Calendar, year: Year, chance: random.Random, make: Callable[[int], bytes]
) -> None:
    """A day's rounds, each with a commit of its own."""
    with hold(workspace.index, KIM, calendar) as lease:
        claim(workspace.lake, workspace.index, lease)
        rows = record_folders(
            workspace.index, lease, "imap", [("INBOX", "Inbox", "inbox", None)], calendar.now()
        )
        batch = Batch(workspace, lease)
        for _ in range(ROUNDS_A_DAY):
            calendar.time += ROUND
            account = RoundAccount(rows["INBOX"].folder_id, "Inbox", calendar.now())
            new = chance.choice(NEW)
            batch.expect(account, new)
            for _ in range(new):
                year.messages += 1
                mime = make(year.messages)
                entry = Entry(f"1:{year.messages}", len(mime), calendar.now(), ())
                batch.store(account, "imap", Fetched(entry, mime), make_record(mime))
            batch.move_cursor(account, str(year.messages))
            batch.flush()
            year.files_made += bool(new)


def most_files(workspace: Workspace) -> int:
    return max(len(workspace.lake.files(dataset, KIM)) for dataset in Dataset)


def simulate(days: int, make: Callable[[int], bytes]) -> dict[str, float]:
    chance, calendar, year = random.Random(1), Calendar(), Year()
    with (
        tempfile.TemporaryDirectory(prefix="compaction-", dir=MEMORY if MEMORY.is_dir() else None) as place,
        Workspace(configure(Path(place), KIM), calendar) as workspace,
    ):
        for _ in range(days):
            a_day(workspace, calendar, year, chance, make)
            year.most_files = max(year.most_files, most_files(workspace))
            started = time.perf_counter()
            done = compact(workspace, KIM)
            year.seconds.append(time.perf_counter() - started)
            assert done.outcome is Outcome.DONE, done.error
            year.rows_rewritten += done.rows
            year.bytes_rewritten += done.bytes
            year.most_files_compacted = max(year.most_files_compacted, most_files(workspace))
        return figures(workspace, year, days)


def figures(workspace: Workspace, year: Year, days: int) -> dict[str, float]:
    lake, limit = workspace.lake, limit_of(workspace)
    assert nothing_twice(workspace, KIM).figures == {"messages": year.messages, "doubled": 0}
    paths = {dataset: lake.files(dataset, KIM) for dataset in Dataset}
    stored = sum(lake.size(path) for some in paths.values() for path in some)
    with workspace.index.read() as connection:
        content = connection.exec_driver_sql("SELECT sum(size) FROM raws").scalar_one()
    full = 2 * year.messages // limit.rows + 2 * content // limit.content
    return {
        "rounds": days * ROUNDS_A_DAY,
        "messages": year.messages,
        "files_without": year.files_made,
        "files_raw": len(paths[Dataset.RAW]),
        "files_messages": len(paths[Dataset.MESSAGES]),
        "most_files_after_compaction": year.most_files_compacted,
        "most_files_before_compaction": year.most_files,
        "bound": most_open_files(limit) + full,
        "stored_bytes": stored,
        "bytes_rewritten_per_byte": year.bytes_rewritten / stored,
        "rows_rewritten_per_row": year.rows_rewritten / (2 * year.messages),
        "seconds_a_day": sum(year.seconds) / days,
        "seconds_worst_day": max(year.seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=14, help="days of one year (default 14, at most 365)")
    parser.add_argument("--business", action="store_true", help="mail of some 77 KB instead of 3.5 KB")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    found = simulate(min(options.days, 365), business_mail if options.business else small_mail)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"  {name.replace('_', ' '):32} {value:14,.2f}".replace(".00", "   "))


if __name__ == "__main__":
    main()
