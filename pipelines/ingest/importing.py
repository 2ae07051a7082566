"""Importing mail files into a mailbox: one walk over them, under the mailbox's lease."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config import MailboxConfig
from pipelines.errors import RoundOpenError
from pipelines.index.changes import RoundAccount
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import known_occurrences, quarantined
from pipelines.index.mailboxes import record_folders
from pipelines.ingest.batch import Batch
from pipelines.ingest.ownership import record_claim
from pipelines.ingest.passes import as_mailover_error, contained
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.rounds import Round
from pipelines.ingest.workspace import Workspace
from pipelines.sources.archive import ArchiveSource


@dataclass(slots=True)
class ImportReport(MailboxReport):
    """A mailbox's report, and what became of the files."""

    mail_files: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)
    """Files that hold no mail, each with what it is taken for."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Files and directories whose mail could not be had, each with the reason."""

    def to_json(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return MailboxReport.to_json(self) | {
            "mail_files": self.mail_files,
            "passed_over": self.passed_over,
            "unreadable": self.unreadable,
        }


@dataclass(frozen=True, slots=True)
class Position:
    """How far an import has come."""

    folder: str
    files: int
    messages: int
    bytes: int
    total_bytes: int
    """Of all the files, as they were when they were found."""


Progress = Callable[[Position], None]


def import_mail(
    workspace: Workspace,
    mailbox: MailboxConfig,
    paths: Sequence[Path],
    progress: Progress = lambda _position: None,
) -> ImportReport:
    """Bring the mail of files into the lake of a mailbox. Failures are in the report.

    Raises ``UsageError``, before anything is written, where one of ``paths`` is not there
    or none holds mail.
    """
    with closing(ArchiveSource(paths, workspace.clock)) as source:
        report = ImportReport(mailbox.address, source.protocol)
        with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
            _Import(workspace, lease, source, report, progress).run()
        report.mail_files = source.files_read
        report.passed_over, report.unreadable = source.files.passed_over, source.files.unreadable
    troubled = report.folder_errors or report.unreadable or report.total("quarantined")
    if report.outcome is Outcome.DONE and troubled:
        report.outcome = Outcome.ATTENTION
    return report


class _Import:
    def __init__(
        self,
        workspace: Workspace,
        lease: Lease,
        source: ArchiveSource,
        report: ImportReport,
        progress: Progress,
    ) -> None:
        self._workspace, self._lease, self._source = workspace, lease, source
        self._report, self._progress = report, progress
        self._batch = Batch(workspace, lease)
        self._folders = {folder.path: folder for folder in source.folders()}
        self._messages = 0

    def run(self) -> None:
        renormalise(self._workspace, self._lease)
        rounds = self._rounds()
        self._report.rounds = [each.account for each in rounds]
        try:
            walked = [each for each in rounds if self._contained(each, self._walk)]
            self._batch.flush()
            for each in walked:
                self._contained(each, self._reconcile)
            self._batch.flush()
        finally:
            totals, report = self._batch.totals, self._report
            report.messages, report.raws, report.files = totals.messages, totals.raws, totals.files
            report.lake_bytes, report.downloads = totals.bytes, totals.downloads
        record_claim(self._workspace.lake, self._workspace.index, self._lease)

    def _rounds(self) -> list[Round]:
        """A round for every folder of the files: the folder rules are about what servers show."""
        index, clock = self._workspace.index, self._workspace.clock
        folders = self._folders.values()
        seen = [(folder.native, folder.path, folder.role, None) for folder in folders]
        rows = record_folders(index, self._lease, self._source.protocol, seen, clock.now(), complete=False)
        return [
            Round(self._workspace, self._source, folder, rows[folder.native], self._batch, self._tell)
            for folder in folders
        ]

    def _walk(self, one: Round) -> None:
        one.walk(recognise_fresh=False)
        self._messages += one.account.listed

    def _reconcile(self, one: Round) -> None:
        """Every message of the files has to stand in the index.

        What else the folder has came from other archives and stays. Raises ``RoundOpenError``.
        """
        account = one.account
        account.server_count = account.lake_count = 0
        for ids in self._source.id_pages(self._folders[account.path]):
            with self._workspace.index.read() as connection:
                known = known_occurrences(connection, account.folder_id, ids)
                held = quarantined(connection, account.folder_id, ids)
            account.server_count += len(ids)
            account.lake_count += len(held | {each for each, found in known.items() if found.live})
        if account.lake_count != account.server_count:
            raise RoundOpenError(
                f"{account.path}: {account.server_count - account.lake_count} messages of the files "
                "are not in the index; the round stays open",
                remedy="run the import again; if it stays so, report it with this line",
            )
        one.close()

    def _contained(self, one: Round, step: Callable[[Round], None]) -> bool:
        """Whether the step went well; one folder must not stop the import."""
        try:
            step(one)
        except Exception as error:
            if self._batch.broken:
                raise
            self._report.folder_errors[one.account.path] = as_mailover_error(error)
            return False
        return True

    def _tell(self, account: RoundAccount) -> None:
        settled = account.stored + account.known + account.quarantined + account.gone
        source = self._source
        self._progress(
            Position(
                account.path,
                source.files_read,
                self._messages + settled,
                source.bytes_read,
                source.files.bytes,
            )
        )
