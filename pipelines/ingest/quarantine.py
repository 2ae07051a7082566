"""What a person can do about quarantine: ask again now, take it along, accept what there is."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config import MailboxConfig
from pipelines.errors import LeaseHeldError, MailoverError, UsageError
from pipelines.index.lease import Lease, hold
from pipelines.index.lookup import known_occurrences
from pipelines.index.quarantine import ALL_STATES, WAITING, QuarantineEntry, State, entries, make_due
from pipelines.index.standins import message_under
from pipelines.ingest.batch import Batch
from pipelines.ingest.ownership import record_claim
from pipelines.ingest.passes import Progress, contained, ingest_mailbox, no_progress
from pipelines.ingest.renormalise import renormalise
from pipelines.ingest.report import MailboxReport
from pipelines.ingest.stages import Reader, Stage, run_stage
from pipelines.ingest.workspace import Workspace


def find(
    workspace: Workspace, mailboxes: Sequence[MailboxConfig], ids: Collection[str]
) -> list[QuarantineEntry]:
    """The entries with these ids, in whatever state. Raises ``UsageError`` for an id that names none."""
    addresses = [each.address for each in mailboxes]
    with workspace.index.read() as connection:
        found = [each for each in entries(connection, addresses, states=ALL_STATES) if each.entry_id in ids]
    unknown = set(ids) - {each.entry_id for each in found}
    if unknown:
        raise UsageError(
            f"nothing in quarantine has the id {', '.join(sorted(unknown))}",
            remedy="`mailover quarantine list` shows the ids",
        )
    return found


@dataclass(slots=True)
class Retry:
    """What became of entries that were asked for again."""

    entries: list[QuarantineEntry] = field(default_factory=list)
    """As they stand now."""
    untried: set[str] = field(default_factory=set)
    """Ids of those that no pass asked for: their mailbox or folder was not read."""
    reports: list[MailboxReport] = field(default_factory=list)

    def in_state(self, state: State) -> list[QuarantineEntry]:
        """The entries in one state."""
        return [each for each in self.entries if each.state is state]

    def to_json(self) -> dict[str, Any]:
        """The retry as ``--json`` prints it."""
        return {
            "resolved": len(self.in_state(State.RESOLVED)),
            "gone": len(self.in_state(State.GONE)),
            "accepted": len(self.in_state(State.ACCEPTED)),
            "remaining": len(self.in_state(State.OPEN)),
            "entries": [
                {**each.to_json(), "tried": each.entry_id not in self.untried} for each in self.entries
            ],
            "mailboxes": [each.to_json() for each in self.reports],
        }


def retry(
    workspace: Workspace,
    mailboxes: Sequence[MailboxConfig],
    ids: Collection[str] = (),
    progress: Progress = no_progress,
    *,
    read: Reader = ingest_mailbox,
) -> Retry:
    """Ask now for what waits in quarantine: all of the mailboxes', or the entries named.

    An ordinary pass over each of their mailboxes, ``read``, does it. Raises ``UsageError`` for
    an unknown id.
    """
    with workspace.index.read() as connection:
        waiting = entries(connection, [each.address for each in mailboxes], states=WAITING)
    chosen = find(workspace, mailboxes, ids) if ids else waiting
    result = Retry()
    ready = []
    for mailbox in mailboxes:
        rows = [each.row_id for each in chosen if each.mailbox == mailbox.address]
        if not rows:
            continue
        report = MailboxReport(mailbox.address, protocol="lake")
        with contained(workspace, report), hold(workspace.index, mailbox.address, workspace.clock) as lease:
            make_due(workspace.index, lease, rows, workspace.clock.now())
            ready.append(mailbox)
        if report.error:
            result.reports.append(report)
    result.reports += run_stage(workspace, Stage.RAW_MESSAGES, ready, progress, read=read)
    result.entries = _again(workspace, chosen)
    attempts = {each.entry_id: each.attempts for each in chosen}
    result.untried = {
        each.entry_id
        for each in result.entries
        if each.state in WAITING and each.attempts == attempts[each.entry_id]
    }
    return result


def _again(workspace: Workspace, seen: Iterable[QuarantineEntry]) -> list[QuarantineEntry]:
    """Entries as they stand now."""
    rows = {each.row_id: each.mailbox for each in seen}
    with workspace.index.read() as connection:
        now = entries(connection, sorted(set(rows.values())), states=ALL_STATES)
    return [each for each in now if each.row_id in rows]


@dataclass(frozen=True, slots=True)
class Exported:
    """The files written of one entry."""

    entry: QuarantineEntry
    description: Path
    form: Path | None
    """What the server offered instead of the message; None where nothing was kept."""
    damage: MailoverError | None
    """Why what was kept could not be written."""

    def to_json(self) -> dict[str, Any]:
        """The files as ``--json`` prints them."""
        return {
            "id": self.entry.entry_id,
            "json": str(self.description),
            "eml": str(self.form) if self.form else None,
            "damage": self.damage.message if self.damage else None,
        }


def export(workspace: Workspace, addresses: Sequence[str], directory: Path) -> list[Exported]:
    """Write what stands open in quarantine into ``directory``, for its owner's eyes only.

    ``<id>.json`` describes an entry, ``<id>.eml`` has what the server offered instead of
    the message. Raises ``UsageError``, and writes nothing, where one of the files is there.
    """
    with workspace.index.read() as connection:
        held = entries(connection, addresses)
    if not held:
        return []
    for each in held:
        for suffix in (".json", ".eml"):
            path = directory / (each.entry_id + suffix)
            if path.exists():
                raise UsageError(f"{path} is there already", remedy="name another folder, or move it away")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [_export(workspace, each, directory) for each in held]
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory} cannot be written: {error.strerror}",
            remedy="name a folder that is yours to write",
        ) from None


def _export(workspace: Workspace, entry: QuarantineEntry, directory: Path) -> Exported:
    description = directory / f"{entry.entry_id}.json"
    _write_new(description, json.dumps(entry.to_json(), indent=2, ensure_ascii=False).encode() + b"\n")
    if entry.fallback_sha256 is None:
        return Exported(entry, description, None, None)
    try:
        form = _kept_form(workspace, entry, entry.fallback_sha256)
    except MailoverError as damage:
        return Exported(entry, description, None, damage)
    path = directory / f"{entry.entry_id}.eml"
    _write_new(path, form)
    return Exported(entry, description, path, None)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _kept_form(workspace: Workspace, entry: QuarantineEntry, sha256: str) -> bytes:
    try:
        form = workspace.lake.read_fallback(entry.mailbox, sha256)
    except FileNotFoundError:
        form = None
    if form is None or hashlib.sha256(form).hexdigest() != sha256:
        what = "lost" if form is None else "altered"
        raise MailoverError(
            f"{entry.entry_id}: what was kept of the message is {what} in the lake",
            remedy=f"`mailover quarantine retry --id {entry.entry_id}` asks the server for it again",
        )
    return form


@dataclass(frozen=True, slots=True)
class AcceptedForm:
    """An entry whose form was accepted, and the message that it stands for."""

    entry: QuarantineEntry
    message_key: str | None
    """None where the message is gone from the mailbox since."""

    def to_json(self) -> dict[str, Any]:
        """The decision as ``--json`` prints it."""
        return {**self.entry.to_json(), "message_key": self.message_key}


def accept(
    workspace: Workspace, mailboxes: Sequence[MailboxConfig], ids: Collection[str], actor: str, reason: str
) -> list[AcceptedForm]:
    """Let the forms that the server offers stand for the messages of these entries.

    Each becomes a message of the lake that says what it was read from (``fidelity``); one
    that was accepted before stays as it was. Raises ``UsageError``, and accepts none, where
    an entry has no form that can stand for its message, and ``MailoverError`` where a form is
    lost or a mailbox is being written.
    """
    if not reason.strip():
        raise UsageError("an acceptance needs a reason", remedy="say in --reason why the form will do")
    chosen = find(workspace, mailboxes, ids)
    for each in chosen:
        _check_acceptable(each)
    for address in dict.fromkeys(each.mailbox for each in chosen):
        try:
            with hold(workspace.index, address, workspace.clock) as lease:
                mine = [each for each in chosen if each.mailbox == address]
                _accept(workspace, lease, mine, actor, reason.strip())
        except LeaseHeldError as held:
            raise MailoverError(
                f"{held.message.removesuffix('; skipped')}; nothing of it was accepted",
                remedy="try again when that run is done",
            ) from None
    with workspace.index.read() as connection:
        return [
            AcceptedForm(each, message_under(connection, each.folder_id, each.native_id))
            for each in _again(workspace, chosen)
        ]


def _check_acceptable(entry: QuarantineEntry) -> None:
    named = f"{entry.entry_id} ({entry.mailbox}, {entry.folder})"
    if entry.state in (State.RESOLVED, State.GONE):
        what = "came and is stored" if entry.state is State.RESOLVED else "is gone from the mailbox"
        raise UsageError(f"{named}: nothing to accept, the message {what}")
    if entry.fallback_sha256 is None:
        raise UsageError(
            f"{named}: the server offered nothing that could stand for the message",
            remedy="only the message itself will do; `mailover quarantine list` says what may help",
        )
    if entry.fidelity is None:
        raise UsageError(
            f"{named}: what was kept can never stand for the message ({entry.reason})",
            remedy="`mailover quarantine export` shows it; only the message itself will do",
        )


def _accept(
    workspace: Workspace, lease: Lease, chosen: Sequence[QuarantineEntry], actor: str, reason: str
) -> None:
    renormalise(workspace, lease)
    batch = Batch(workspace, lease)
    # A pass may have settled some, or brought newer forms, before the mailbox was ours.
    for each in _again(workspace, chosen):
        if each.state is State.OPEN and each.fallback_sha256 and each.fidelity:
            with workspace.index.read() as connection:
                stood = known_occurrences(connection, each.folder_id, [each.native_id])
            form = _kept_form(workspace, each, each.fallback_sha256)
            batch.accept(each, form, actor, reason, edited=bool(stood))
    batch.flush()
    record_claim(workspace.lake, workspace.index, lease)
