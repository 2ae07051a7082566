"""What a mailbox's size changes: a round with new mail, an idle round, look-ups and searches as it grows.

    python -m benchmarks.growth                        1,000 to 100,000 messages
    python -m benchmarks.growth --messages 1000000 --json

One mailbox in one folder grows through the real passes: batches, Parquet files and commits on disk.
Only the server is a model, in memory: it lists what is after the cursor and makes each message when it
is fetched, so that the figures are those of index and lake alone; times are CPU time. A message has 30
words out of 60,000, which occur as often as a language's do. At each size are measured, in this process,
with the lake's files merged as ``mailover compact`` does:

- a round with 20 new messages, and a round with none;
- reading a message from the lake by its key;
- searches, as ``mailover search`` makes them: 50 by fields and 50 for two words, none asked twice.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

from benchmarks.mime import sentence
from benchmarks.racing import scratch
from pipelines.clock import SystemClock
from pipelines.config import MailboxConfig
from pipelines.index.search import search
from pipelines.ingest.compaction import compact
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.reading import read_message
from pipelines.ingest.report import Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import Entry, Fetched, Folder, Page, ProtocolName, Reset, Role, Source
from tests.ingest.model import KIM, configure

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
PAGE = 500
NEW = 20
ROUNDS = 15
QUERIES = 50


def letter(number: int) -> bytes:
    """A note of about 600 bytes, a minute after the one before it."""
    chance = random.Random(number)
    moment = format_datetime(FIRST + timedelta(minutes=number))
    return (
        f"Message-ID: <{number}@fabrikam.example>\r\nDate: {moment}\r\n"
        f"From: Person {number % 997} <person{number % 997}@fabrikam.example>\r\nTo: <{KIM}>\r\n"
        f"Subject: {sentence(chance, 4)}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        f"{sentence(chance, 30)}\r\n"
    ).encode()


class GrowingSource:
    """A server's Inbox of ``size`` messages; more can come."""

    protocol = ProtocolName.IMAP
    ids_follow_moves = False
    size = 0

    def folders(self) -> list[Folder]:
        return [Folder("Inbox", Role.INBOX, "INBOX")]

    def changes(self, _folder: Folder, cursor: str | None) -> Iterator[Page | Reset]:
        for start in range(int(cursor or 0), self.size, PAGE):
            last = min(start + PAGE, self.size)
            yield Page([self._entry(number) for number in range(start, last)], str(last))

    @staticmethod
    def _entry(number: int) -> Entry:
        return Entry(f"1:{number + 1}", 600, FIRST + timedelta(minutes=number), ())

    def fetch(self, _folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched]:
        for entry in entries:
            yield Fetched(entry, letter(int(entry.native_id[2:]) - 1))

    def identify(self, _folder: Folder, entries: Sequence[Entry]) -> Sequence[Entry]:
        return entries

    def window(self, _folder: Folder, _since: datetime, _before: datetime) -> Iterator[Sequence[Entry]]:
        raise AssertionError("nothing here reads a window")

    def native_ids(self, _folder: Folder) -> set[str]:
        return {f"1:{number + 1}" for number in range(self.size)}

    def count(self, _folder: Folder) -> int:
        return self.size

    def close(self) -> None:
        """Nothing is open."""


class GrowingWorkspace(Workspace):
    """The real workspace over the growing mailbox."""

    source = GrowingSource()

    def open_source(self, _mailbox: MailboxConfig, _protocol: ProtocolName) -> Source:
        return self.source

    def __enter__(self) -> "GrowingWorkspace":
        return self

    def grow(self, size: int) -> None:
        """Let the mailbox have so many messages, and read them."""
        self.source.size = size
        report = ingest_mailbox(self, self.config.mailbox(KIM))
        assert report.outcome is Outcome.DONE, report.error

    def merge(self) -> None:
        done = compact(self, KIM)
        assert done.outcome is Outcome.DONE, done.error


@contextmanager
def growing() -> Iterator[GrowingWorkspace]:
    with scratch() as place, GrowingWorkspace(configure(place, KIM), SystemClock()) as workspace:
        workspace.source = GrowingSource()
        yield workspace


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time: nothing here waits for anybody, and other programs of the machine do not count."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def field_searches(workspace: GrowingWorkspace, chance: random.Random) -> Iterator[str]:
    """One message by its id, and what one sender sent on a day."""
    for number in chance.sample(range(workspace.source.size), QUERIES // 2):
        day = FIRST + timedelta(minutes=number)
        yield f"id:{number}@fabrikam.example"
        yield f"from:person{number % 997} after:{day:%Y-%m-%d} before:{day + timedelta(days=1):%Y-%m-%d}"


def word_searches(workspace: GrowingWorkspace, chance: random.Random) -> Iterator[str]:
    """Two words of one message: the rarer one may be in it only, or both in many."""
    for number in chance.sample(range(workspace.source.size), QUERIES):
        words = letter(number).decode().rpartition("\r\n\r\n")[2].split()
        yield " ".join(chance.sample(words, 2))


def searched(workspace: GrowingWorkspace, queries: Iterator[str]) -> list[float]:
    def ask(query: str) -> None:
        assert search(workspace.index, query, 20), query

    return [milliseconds(partial(ask, query)) for query in queries]


def percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


def measure(workspace: GrowingWorkspace) -> dict[str, list[float]]:
    """Milliseconds of each operation at the present size, each time it was done."""
    chance, size = random.Random(workspace.source.size), workspace.source.size
    found: dict[str, list[float]] = {}
    found["round"] = [
        milliseconds(partial(workspace.grow, size + NEW * more)) for more in range(1, ROUNDS + 1)
    ]
    workspace.merge()
    found["idle"] = [milliseconds(partial(workspace.grow, workspace.source.size)) for _ in range(ROUNDS)]
    found["field"] = searched(workspace, field_searches(workspace, chance))
    found["words"] = searched(workspace, word_searches(workspace, chance))
    keys = [
        search(workspace.index, f"id:{number}@fabrikam.example", 1)[0].message_key
        for number in chance.sample(range(size), ROUNDS)
    ]
    found["read"] = [milliseconds(partial(read_message, workspace, key)) for key in keys]
    return found


def grow(sizes: Sequence[int]) -> Iterator[tuple[int, float, dict[str, list[float]]]]:
    """For each size: itself, the milliseconds a message took on the way to it, what ``measure`` gives."""
    with growing() as workspace:
        for size in sizes:
            new = size - workspace.source.size
            taken = milliseconds(partial(workspace.grow, size))
            workspace.merge()
            yield size, taken / new, measure(workspace)


Row = dict[str, float]


def rows_to(most: int) -> Iterator[Row]:
    """A row for each size from 1,000 on, three to a power of ten."""
    steps = [base * 10**power for power in range(3, 8) for base in (1, 2, 5)]
    for size, per_message, found in grow([*(each for each in steps if each < most), most]):
        yield {
            "messages": size,
            "first_ms_per_message": per_message,
            **{f"{name}_ms": statistics.median(each) for name, each in found.items()},
            **{f"{name}_p95_ms": percentile(found[name], 95) for name in ("field", "words")},
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=100_000, help="the largest size (default 100000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    rows = []
    for row in rows_to(options.messages):
        rows.append(row)
        if not options.json:
            print("  ".join(f"{name} {value:,.2f}" for name, value in row.items()), flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
