"""Run by the memory test: one pass over a model mailbox; prints the peak of its memory in bytes.

Usage: measuring.py FOLDER MESSAGES
"""

import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.config import MailboxConfig
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.sources.base import Entry, Fetched, FetchFailed, Folder, ProtocolName, Source
from tests.ingest.model import KIM, ModelMailbox, ModelSource, ModelWorkspace, VirtualClock, configure, mail

BULK = b"All work and no play makes a dull mailbox.\r\n" * 900
BATCH = 2_000_000


class LargeOnTheWay(ModelSource):
    """Adds the bulk of each body as it is fetched: the model itself holds only small messages."""

    def fetch(self, folder: Folder, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        for outcome in super().fetch(folder, entries):
            assert isinstance(outcome, Fetched)
            yield Fetched(outcome.entry, outcome.mime + BULK)


class LargeWorkspace(ModelWorkspace):
    def open_source(self, mailbox: MailboxConfig, protocol: ProtocolName) -> Source:
        return LargeOnTheWay(self.servers[mailbox.address])


def main() -> None:
    folder, messages = Path(sys.argv[1]), int(sys.argv[2])
    server = ModelMailbox(page_size=200)
    for number in range(messages):
        server.inbox.deliver(mail(number))
    workspace = LargeWorkspace(configure(folder, KIM), {KIM: server}, VirtualClock())
    workspace.commit_every(BATCH)
    tracemalloc.start()
    report = ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    assert report.outcome is Outcome.DONE, report.error
    traced = tracemalloc.get_traced_memory()[1]
    sys.stdout.write(str(traced + (pa.default_memory_pool().max_memory() or 0)))
    workspace.close()


if __name__ == "__main__":
    main()
