"""A backfill: what a mailbox received in a span of time, month by month, newest first.

It goes on beside live ingestion: a window moves no cursor, whoever lists an id first gives
it its outcome, and the lease is given back after each month, to a round if one waits for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from pipelines.config import MailboxConfig
from pipelines.errors import LeaseHeldError, MailoverError
from pipelines.index.backfills import begin, closed_windows, finish, is_fresh
from pipelines.index.changes import RoundAccount, Window
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import has_messages, shown_by_others
from pipelines.index.mailboxes import FolderRow, is_round_wanted
from pipelines.ingest.advance import Advance
from pipelines.ingest.batch import Batch
from pipelines.ingest.ownership import record_claim
from pipelines.ingest.passes import (
    as_mailover_error,
    contained,
    feeding_protocol,
    ingest_mailbox,
    no_progress,
    select_folders,
)
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import BackfillReport, MonthReport, Outcome
from pipelines.ingest.rounds import Round
from pipelines.ingest.span import Span
from pipelines.ingest.stages import Reader
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import Folder, ProtocolName, Source

PATIENCE = 15 * 60.0
"""Seconds that a month waits for another run to give the mailbox back."""
LOOK_AGAIN = 2.0

Folders = list[tuple[Folder, FolderRow]]
Progress = Callable[[Advance], None]
"""Told how far it is; called often, from worker threads."""
MonthDone = Callable[[MonthReport], None]
"""Told each month's report as the month ends, and those of months that were read before."""


def backfill(
    workspace: Workspace,
    mailbox: MailboxConfig,
    span: Span,
    progress: Progress = lambda _advance: None,
    month_done: MonthDone = lambda _month: None,
    read: Reader = ingest_mailbox,
) -> BackfillReport:
    """Bring what a mailbox received in ``span`` into the lake. Failures are in the report.

    A run that ends early, however it ends, leaves the months it has read behind it: the next
    one of the same span goes on there. One that is finished is done anew when asked for again.
    ``read`` is the mailbox's pass, made between two months where one was turned away.
    """
    report = BackfillReport(mailbox.address, feeding_protocol(workspace, mailbox), span=span)
    with contained(workspace, report):
        with closing(workspace.open_source(mailbox, ProtocolName(report.protocol))) as source:
            _Backfill(workspace, mailbox, source, report, progress, month_done, read).run()
        report.outcome = Outcome.ATTENTION if report.needs_attention else Outcome.DONE
    return report


class _Backfill:
    def __init__(
        self,
        workspace: Workspace,
        mailbox: MailboxConfig,
        source: Source,
        report: BackfillReport,
        progress: Progress,
        month_done: MonthDone,
        read: Reader,
    ) -> None:
        self._workspace, self._mailbox, self._source = workspace, mailbox, source
        self._index, self._clock = workspace.index, workspace.clock
        self._report, self._month_done = report, month_done
        self._progress, self._read_mailbox = progress, read
        self._advance = Advance(mailbox.address, self._clock)

    def run(self) -> None:
        span, address = self._report.span, self._mailbox.address
        backfill_id = begin(self._index, address, span.since, span.before, self._clock.now())
        with self._turn() as lease:
            folders = select_folders(self._workspace, self._mailbox, lease, self._source)
            with self._index.read() as connection:
                self._had_messages = has_messages(connection, lease.mailbox_id)
                self._by_others = shown_by_others(connection, lease.mailbox_id, self._source.protocol)
                read = closed_windows(connection, backfill_id)
        months = [self._month(month, folders, read) for month in span.months()]
        self._advance.months = sum(bool(left) for _, left in months)
        for month, left in months:
            if left:
                self._read(month, left, backfill_id)
            self._report.add(month)
            self._month_done(month)
            if left and len(month.errors) == len(left):
                raise next(iter(month.errors.values()))
            if left and is_round_wanted(self._index, address):
                self._read_mailbox(self._workspace, self._mailbox, no_progress)
        if not self._report.folder_errors:
            finish(self._index, backfill_id, self._clock.now())

    @staticmethod
    def _month(month: Span, folders: Folders, read: Sequence[RoundAccount]) -> tuple[MonthReport, Folders]:
        """A month as earlier runs left it, and the folders of which it is still to be read."""
        accounts = [each for each in read if each.window and each.window.since == month.since]
        done = {each.folder_id for each in accounts}
        return MonthReport(month, accounts), [each for each in folders if each[1].folder_id not in done]

    def _read(self, month: MonthReport, folders: Folders, backfill_id: int) -> None:
        window = Window(backfill_id, month.span.since, month.span.before)
        self._advance.enter_month(month.span, len(folders))
        with self._turn() as lease:
            batch = Batch(self._workspace, lease)
            for folder, row in folders:
                self._walk(month, folder, row, batch, window)
            batch.flush()
        month.brought = batch.totals
        self._advance.leave_month()
        self._progress(self._advance)

    def _walk(self, month: MonthReport, folder: Folder, row: FolderRow, batch: Batch, window: Window) -> None:
        """One folder's window; a folder that cannot be read must not stop its mailbox."""
        one = Round(
            self._workspace,
            self._source,
            folder,
            row,
            batch,
            lambda _account: self._progress(self._advance),
            shown_by_others=self._by_others,
            window=window,
        )
        month.accounts.append(one.account)
        self._advance.enter_folder(one.account)
        with self._index.read() as connection:
            fresh = is_fresh(connection, row.folder_id, window)
        try:
            one.walk_window(recognise_all=fresh and self._had_messages)
        except Exception as error:
            if batch.broken:
                raise
            month.errors[folder.path] = as_mailover_error(error)
        self._advance.leave_folder()

    @contextmanager
    def _turn(self) -> Iterator[Lease]:
        """The mailbox's lease, waited for where another run has it, with lake and index in accord."""
        with ExitStack() as stack:
            lease = self._patiently(stack)
            feeding = feeding_protocol(self._workspace, self._mailbox)
            if feeding != self._report.protocol:
                raise MailoverError(
                    f"{lease.address}: {feeding} feeds the lake since the backfill began",
                    remedy=f"run it again: it goes on through {feeding} and downloads nothing twice",
                )
            renormalise(self._workspace, lease)
            yield lease
            record_claim(self._workspace.lake, self._index, lease)

    def _patiently(self, stack: ExitStack) -> Lease:
        until = self._clock.monotonic() + PATIENCE
        while True:
            try:
                lease = stack.enter_context(hold(self._index, self._mailbox.address, self._clock))
            except LeaseHeldError:
                if self._clock.monotonic() >= until:
                    raise
                self._advance.waiting = True
                self._progress(self._advance)
                self._clock.sleep(LOOK_AGAIN)
            else:
                self._advance.waiting = False
                return lease
