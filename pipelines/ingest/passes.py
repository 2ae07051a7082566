"""A pass over a mailbox: every folder's round, under the lease."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from traceback import extract_tb

from pipelines.config import MailboxConfig
from pipelines.errors import FolderGoneError, LeaseHeldError, LeaseLostError, MailoverError
from pipelines.index.changes import RoundAccount
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import has_messages
from pipelines.index.mailboxes import FolderRow, phase_of, record_folders, record_pass
from pipelines.ingest.batch import Batch
from pipelines.ingest.ownership import claim, record_claim
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.rounds import Round
from pipelines.ingest.workspace import Workspace
from pipelines.sources.base import Folder, ProtocolName, Source

Progress = Callable[[str, RoundAccount], None]
"""Told the mailbox and the account of the folder it is in; called often, from worker threads."""


def no_progress(_mailbox: str, _account: RoundAccount) -> None:
    """Progress for nobody to see."""


def ingest_mailbox(
    workspace: Workspace, mailbox: MailboxConfig, progress: Progress = no_progress
) -> MailboxReport:
    """One pass over a mailbox, through the protocol its phase says. Failures are in the report."""
    report = MailboxReport(mailbox.address, _feeding_protocol(workspace, mailbox))
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        _Pass(workspace, mailbox, lease, report, progress).run()
    return report


@contextmanager
def contained(workspace: Workspace, report: MailboxReport) -> Iterator[None]:
    """Whatever fails in the block is said in the report: one mailbox must not stop the run."""
    started = workspace.clock.monotonic()
    try:
        yield
    except LeaseHeldError as held:
        report.outcome, report.error = Outcome.BUSY, held
    except Exception as error:  # noqa: BLE001 - see above
        report.outcome, report.error = Outcome.FAILED, as_mailover_error(error)
    report.seconds = workspace.clock.monotonic() - started


def as_mailover_error(error: Exception) -> MailoverError:
    """The error itself, or one that names an unexpected error without its text, which may quote mail."""
    if isinstance(error, MailoverError):
        return error
    place = extract_tb(error.__traceback__)[-1]
    return MailoverError(
        f"unexpected {type(error).__name__} in {place.name} ({Path(place.filename).name}:{place.lineno})",
        remedy="a fault of Mailover: please report this line; the next run goes on from the last commit",
    )


def _feeding_protocol(workspace: Workspace, mailbox: MailboxConfig) -> ProtocolName:
    if phase_of(workspace.index, mailbox.address) == "graph" or mailbox.legacy is None:
        return ProtocolName.GRAPH
    return ProtocolName(mailbox.legacy)


class _Pass:
    def __init__(
        self,
        workspace: Workspace,
        mailbox: MailboxConfig,
        lease: Lease,
        report: MailboxReport,
        progress: Progress,
    ) -> None:
        self._workspace, self._mailbox, self._lease = workspace, mailbox, lease
        self._report, self._progress = report, progress
        self._batch = Batch(
            workspace.lake, workspace.index, lease, workspace.clock, workspace.config.ingest.batch_bytes
        )

    def run(self) -> None:
        claim(self._workspace.lake, self._workspace.index, self._lease)
        try:
            with closing(
                self._workspace.open_source(self._mailbox, ProtocolName(self._report.protocol))
            ) as source:
                self._rounds(source)
        except LeaseLostError:
            raise
        except Exception as error:
            self._record(as_mailover_error(error).message)
            raise
        errors = self._report.folder_errors
        self._record("; ".join(f"{path}: {error.message}" for path, error in errors.items()) or None)
        if errors or self._report.total("quarantined"):
            self._report.outcome = Outcome.ATTENTION

    def _rounds(self, source: Source) -> None:
        index, clock = self._workspace.index, self._workspace.clock
        with index.read() as connection:
            had_messages = has_messages(connection, self._lease.mailbox_id)
        rounds = [
            Round(
                source,
                folder,
                row,
                self._batch,
                index,
                clock,
                lambda account: self._progress(self._mailbox.address, account),
            )
            for folder, row in self._selected(source)
        ]
        self._report.rounds = [each.account for each in rounds]
        walked = [
            each
            for each in rounds
            if self._contained(each, lambda one: one.walk(recognise_fresh=had_messages))
        ]
        self._batch.flush()
        for each in walked:
            self._contained(each, Round.reconcile)
        self._batch.flush()

    def _contained(self, one: Round, step: Callable[[Round], None]) -> bool:
        """Whether the step went well; one folder must not stop its mailbox."""
        try:
            step(one)
        except FolderGoneError:
            one.account.notes.append("deleted or renamed during the round")
            return False
        except Exception as error:
            if self._batch.broken:
                raise
            self._report.folder_errors[one.account.path] = as_mailover_error(error)
            return False
        return True

    def _selected(self, source: Source) -> list[tuple[Folder, FolderRow]]:
        """The folders to read, each with its row; the others' rows say why they are not read."""
        listed = source.folders()
        chosen = {
            folder.native
            for folder in self._mailbox.folders.select([each for each in listed if not each.skipped])
        }
        rows = record_folders(
            self._workspace.index,
            self._lease,
            source.protocol,
            [
                (
                    folder.native,
                    folder.path,
                    folder.role,
                    folder.skipped or (None if folder.native in chosen else "excluded by the configuration"),
                )
                for folder in listed
            ],
            self._workspace.clock.now(),
        )
        return [(folder, rows[folder.native]) for folder in listed if folder.native in chosen]

    def _record(self, error: str | None) -> None:
        totals, report = self._batch.totals, self._report
        report.messages, report.raws, report.files = totals.messages, totals.raws, totals.files
        report.lake_bytes, report.downloads = totals.bytes, totals.downloads
        record_pass(self._workspace.index, self._lease, error, self._workspace.clock.now())
        record_claim(self._workspace.lake, self._workspace.index, self._lease)
