"""Run by the crash tests: work on a model mailbox that dies by SIGKILL where it is told to.

Usage: crashing.py FOLDER POINT OCCURRENCE [raw_messages|messages|message_index|backfill|import|compact|purge]
For ``import`` the mail is in FOLDER/mail; ``compact one by one`` is on a system that exchanges no folders.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipelines.index import commit as commit_module
from pipelines.index import compaction as merging_module
from pipelines.index import files as files_module
from pipelines.index.engine import Index
from pipelines.ingest import backfill, batch, compaction, importing, ownership, passes, purge, renormalise
from pipelines.ingest.importing import import_mail
from pipelines.ingest.report import Ending
from pipelines.ingest.span import Span
from pipelines.ingest.stages import Stage, run_stage
from pipelines.lake import replacing
from pipelines.lake.storage import Lake
from tests.ingest.model import (
    KIM,
    START,
    ModelFolder,
    ModelMailbox,
    ModelWorkspace,
    VirtualClock,
    configure,
    mail,
)

BACKFILL, IMPORT = "backfill", "import"
PURGE = "purge"
COMPACT, ONE_BY_ONE = "compact", "compact one by one"


def server() -> ModelMailbox:
    """The same mailbox for the crashing run and for the one after it."""
    mailbox = ModelMailbox()
    mailbox.folders["Archive"] = ModelFolder()
    for number in range(9):
        received_at = START + timedelta(weeks=number)
        mailbox.inbox.deliver(mail(number), received_at)
        mailbox.folders["Archive"].deliver(mail(number if number % 3 else number + 100), received_at)
    return mailbox


def open_workspace(folder: Path) -> ModelWorkspace:
    """Kim's mailbox, committed every few messages, in the middle of pages too."""
    return ModelWorkspace(configure(folder, KIM), {KIM: server()}, VirtualClock()).commit_every(700)


def work(workspace: ModelWorkspace, stage: str, mail_files: Path | None = None) -> Ending:
    """A stage over Kim's mailbox, a backfill of all it ever received, an import of files, a compaction."""
    mailbox = workspace.config.mailbox(KIM)
    if stage == IMPORT:
        assert mail_files
        return import_mail(workspace, mailbox, [mail_files])
    if stage in (COMPACT, ONE_BY_ONE):
        return compaction.compact(workspace.commit_every(1_000_000), KIM)
    if stage == BACKFILL:
        return backfill.backfill(workspace, mailbox, Span(START, START + timedelta(days=100)))
    (report,) = run_stage(workspace, Stage(stage), [mailbox])
    return report


def no_exchange(one: Path, other: Path) -> None:
    """What ``exchange`` is where the system has none."""
    raise OSError(errno.EINVAL, "not supported here")


def die(owner: Any, name: str, occurrence: int, *, after: bool) -> None:
    """Make the nth call of a function the process's last."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def fatal(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        last = calls == occurrence
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


POINTS: dict[str, tuple[Any, str, bool]] = {
    "before a file is published": (Lake, "publish", False),
    "after a file is published": (Lake, "publish", True),
    "before the transaction": (batch, "commit", False),
    "inside the transaction": (commit_module, "_write", True),
    "after the transaction": (batch, "commit", True),
    "before folders are recorded": (passes, "record_folders", False),
    "after folders are recorded": (passes, "record_folders", True),
    "before an archive's folders are recorded": (importing, "record_folders", False),
    "after an archive's folders are recorded": (importing, "record_folders", True),
    "before the pass is recorded": (passes, "record_pass", False),
    "after a month is left": (backfill, "record_claim", True),
    "before the backfill is finished": (backfill, "finish", False),
    "after the backfill is finished": (backfill, "finish", True),
    "before a file is replaced": (renormalise, "replace_file", False),
    "inside the replacement": (files_module, "_move_bytes", True),
    "after a file is replaced": (renormalise, "replace_file", True),
    "before files are merged": (compaction, "merge_files", False),
    "inside the merge": (merging_module, "insert_files", True),
    "after files are merged": (compaction, "merge_files", True),
    "before folders are exchanged": (replacing, "exchange", False),
    "after folders are exchanged": (replacing, "exchange", True),
    "before a merged file is shown": (Path, "replace", False),
    "after a merged file is shown": (Path, "replace", True),
    "after a merged file's part is taken away": (Path, "unlink", True),
    "before replaced files are forgotten": (ownership, "forget_retired", False),
    "before rows are erased": (purge, "erase_rows", False),
    "after rows are erased": (purge, "erase_rows", True),
    "after files are erased": (Lake, "erase", True),
    "after words are erased": (purge, "forget_unowned", True),
    "after the index is scrubbed": (Index, "scrub", True),
    "before a file is deleted": (Lake, "delete", False),
    "after a file is deleted": (Lake, "delete", True),
}


def main() -> None:
    folder, point, occurrence, stage = sys.argv[1:]
    workspace = open_workspace(Path(folder))
    if stage == ONE_BY_ONE:
        replacing.exchange = no_exchange
    owner, name, after = POINTS[point]
    die(owner, name, int(occurrence), after=after)
    if stage == PURGE:
        purge.purge(workspace, KIM)
    work(workspace, stage, Path(folder) / "mail")
    workspace.close()


if __name__ == "__main__":
    main()
