"""A pass over a mailbox: every folder's round, under the lease."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from traceback import extract_tb

from pipelines.config import MailboxConfig
from pipelines.errors import FolderGoneError, LeaseHeldError, LeaseLostError, MailoverError
from pipelines.index.changes import RoundAccount
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import (
    folders_with_due,
    folders_with_unmatched,
    has_messages,
    live_counts,
    shown_by_others,
)
from pipelines.index.mailboxes import FolderRow, phase_of, record_folders, record_pass, record_refusal
from pipelines.ingest.batch import Batch
from pipelines.ingest.matching import Links
from pipelines.ingest.ownership import record_claim
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import Ending, MailboxReport, Outcome
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
    report = MailboxReport(mailbox.address, feeding_protocol(workspace, mailbox))
    with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
        MailboxPass(workspace, mailbox, lease, report, progress).feed()
    return report


@contextmanager
def contained(workspace: Workspace, report: Ending) -> Iterator[None]:
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


def feeding_protocol(workspace: Workspace, mailbox: MailboxConfig) -> ProtocolName:
    """The protocol through which mail comes in, as the mailbox's phase says."""
    if phase_of(workspace.index, mailbox.address) == "graph" or mailbox.legacy is None:
        return ProtocolName.GRAPH
    return ProtocolName(mailbox.legacy)


def select_folders(
    workspace: Workspace, mailbox: MailboxConfig, lease: Lease, source: Source
) -> list[tuple[Folder, FolderRow]]:
    """The folders to read, each with its row; the others' rows say why they are not read."""
    listed = source.folders()
    chosen = {
        folder.native for folder in mailbox.folders.select([each for each in listed if not each.skipped])
    }
    rows = record_folders(
        workspace.index,
        lease,
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
        workspace.clock.now(),
    )
    return [(folder, rows[folder.native]) for folder in listed if folder.native in chosen]


class MailboxPass:
    """A mailbox read under its lease: fed by one protocol, and compared with another if wanted."""

    def __init__(
        self,
        workspace: Workspace,
        mailbox: MailboxConfig,
        lease: Lease,
        report: MailboxReport,
        progress: Progress = no_progress,
    ) -> None:
        """What happens is noted in ``report``. Raises ``LakeMismatchError`` where the lake is another's."""
        self._workspace, self._mailbox, self._lease = workspace, mailbox, lease
        self.report, self._progress = report, progress
        try:
            renormalise(workspace, lease)
        except MailoverError as error:
            record_refusal(workspace.index, lease, error.message, workspace.clock.now())
            raise
        self._batch = Batch(workspace, lease)

    def feed(self, doubted: Collection[str] = ()) -> None:
        """Bring what the report's protocol shows into the lake, and note how the pass ended.

        ``doubted``: message keys; ids that were linked to them by their listing alone are fetched.
        """
        report = self.report
        try:
            report.rounds = self._read(ProtocolName(report.protocol), report.folder_errors, doubted=doubted)
        except LeaseLostError:
            raise
        except Exception as error:
            self._record(as_mailover_error(error).message)
            raise
        errors = report.folder_errors
        self._record("; ".join(f"{path}: {error.message}" for path, error in errors.items()) or None)
        if errors or report.total("quarantined"):
            report.outcome = Outcome.ATTENTION

    def compare(self, protocol: ProtocolName, share: float, doubted: Collection[str] = ()) -> None:
        """Match what ``protocol`` shows with the lake, which gets no message by it.

        ``share``: the part of what was matched by its listing alone that is fetched to
        compare bodies too; ``doubted`` as for ``feed``. Raises what reading the mailbox
        raises; errors of single folders are in the report.
        """
        report = self.report
        report.compared = self._read(
            protocol, report.compare_errors, compared=True, share=share, doubted=doubted
        )
        self._count()

    def _read(
        self,
        protocol: ProtocolName,
        errors: dict[str, MailoverError],
        *,
        compared: bool = False,
        share: float = 0.0,
        doubted: Collection[str] = (),
    ) -> list[RoundAccount]:
        index, clock = self._workspace.index, self._workspace.clock
        with closing(self._workspace.open_source(self._mailbox, protocol)) as source:
            with index.read() as connection:
                had_messages = has_messages(connection, self._lease.mailbox_id)
                by_others = shown_by_others(connection, self._lease.mailbox_id, protocol)
                due = folders_with_due(connection, self._lease.mailbox_id, protocol, clock.now())
            links = Links()
            rounds = [
                Round(
                    self._workspace,
                    source,
                    folder,
                    row,
                    self._batch,
                    lambda account: self._progress(self._mailbox.address, account),
                    links=links,
                    compared=compared,
                    shown_by_others=by_others,
                    lake_is_new=not had_messages,
                    retries_due=row.folder_id in due,
                )
                for folder, row in select_folders(self._workspace, self._mailbox, self._lease, source)
            ]
            going = rounds
            for step in self._steps(
                protocol, links, errors, recognise_fresh=had_messages, share=share, doubted=doubted
            ):
                going = [each for each in going if self._contained(each, step, errors)]
                if self._batch.has_outcomes:
                    self._batch.flush()
            self._batch.flush()
        return [each.account for each in rounds]

    def _steps(
        self,
        protocol: ProtocolName,
        links: Links,
        errors: Collection[str],
        *,
        recognise_fresh: bool,
        share: float,
        doubted: Collection[str],
    ) -> Iterator[Callable[[Round], None]]:
        """What is done with each folder; the next is asked for when one is done in all, and written.

        What it takes of the index is read for all folders at once: a folder's step changes no other's.
        """
        index, mailbox_id = self._workspace.index, self._lease.mailbox_id
        yield Round.open
        yield lambda one: one.walk(recognise_fresh=recognise_fresh)
        yield lambda one: one.check_bodies(share, links.doubted.union(doubted))
        with index.read() as connection:
            counts = live_counts(connection, mailbox_id, protocol)
        yield lambda one: one.reconcile(counts[one.account.folder_id])
        with index.read() as connection:
            waiting = folders_with_unmatched(connection, mailbox_id, protocol)

        def settle(one: Round) -> None:
            if one.account.folder_id in waiting:
                one.settle(in_part=bool(errors))

        yield settle
        if links.settled:
            # One that was settled can be what tells another.
            yield settle
        yield Round.close

    def _contained(self, one: Round, step: Callable[[Round], None], errors: dict[str, MailoverError]) -> bool:
        """Whether the step went well; one folder must not stop its mailbox."""
        try:
            step(one)
        except FolderGoneError:
            one.account.notes.append("deleted or renamed during the round")
            return False
        except Exception as error:
            if self._batch.broken:
                raise
            errors[one.account.path] = as_mailover_error(error)
            return False
        return True

    def _record(self, error: str | None) -> None:
        self._count()
        record_pass(self._workspace.index, self._lease, error, self._workspace.clock.now())
        if error or any(account.listed for account in self.report.rounds):
            # An idle pass moved cursors at most: that it began is in the lake, and is enough.
            record_claim(self._workspace.lake, self._workspace.index, self._lease)

    def _count(self) -> None:
        totals, report = self._batch.totals, self.report
        report.messages, report.raws, report.files = totals.messages, totals.raws, totals.files
        report.lake_bytes, report.downloads = totals.bytes, totals.downloads
