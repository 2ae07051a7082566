"""Run by the memory test: imports an mbox, and prints the peak of its memory in bytes.

Usage: measuring_import.py FOLDER MESSAGES
"""

import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa

from pipelines.ingest.importing import import_mail
from pipelines.ingest.report import Outcome
from tests.ingest.measuring import BATCH, BULK
from tests.ingest.model import KIM, ModelMailbox, ModelWorkspace, VirtualClock, configure, mail


def main() -> None:
    folder, messages = Path(sys.argv[1]), int(sys.argv[2])
    with (folder / "Box").open("wb") as box:
        for number in range(messages):
            box.write(b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n" + mail(number) + BULK + b"\n")
    workspace = ModelWorkspace(configure(folder, KIM), {KIM: ModelMailbox()}, VirtualClock())
    workspace.commit_every(BATCH)
    tracemalloc.start()
    report = import_mail(workspace, workspace.config.mailbox(KIM), [folder / "Box"])
    assert report.outcome is Outcome.DONE, report.error
    assert report.messages == messages
    traced = tracemalloc.get_traced_memory()[1]
    sys.stdout.write(str(traced + (pa.default_memory_pool().max_memory() or 0)))
    workspace.close()


if __name__ == "__main__":
    main()
