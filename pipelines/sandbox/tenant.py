"""The sandbox's mailboxes, their mail, and a configuration that reads them."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.mime import identity_from_headers
from pipelines.sandbox.identity import CLIENT_ID, SECRET_VARIABLE, TENANT_ID
from pipelines.sandbox.mailgen import generate
from pipelines.sandbox.store import Store
from pipelines.sources.archive_files import read_mail

_MAIL_FOLDERS = {
    "Inbox": "inbox",
    "Sent Items": "sent",
    "Drafts": "drafts",
    "Deleted Items": "trash",
    "Junk Email": "junk",
    "Archive": "archive",
    "Projects": "other",
    "Projects/Köln": "other",
    "Projects/Relocation": "other",
}
_OTHER_FOLDERS = {
    "Calendar": "IPF.Appointment",
    "Contacts": "IPF.Contact",
    "Tasks": "IPF.Task",
    "Notes": "IPF.StickyNote",
    "Journal": "IPF.Journal",
    "Sync Issues": "IPF.Note.SyncIssues",
}
HIDDEN, SEARCH = "Import Staging", "Unread Mail"
"""Folders of the first mailbox that only Graph shows: one is hidden, one finds mail of others."""
_HIDDEN_MESSAGES = 2
REFUSED = "isaiah.langer@contoso.com"
"""A mailbox of the tenant that the application may not read."""
_HEADERS = 64 * 1024
"""Bytes of a message in which its Date is looked for."""
_OLDEST = datetime(1980, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seat:
    """A mailbox, and the protocol its programs read it by."""

    address: str
    legacy: str


SEATS = (
    Seat("kim.akers@contoso.com", "imap"),
    Seat("alex.wilber@contoso.com", "imap"),
    Seat("sales@contoso.com", "imap"),
    Seat("adele.vance@contoso.com", "pop3"),
)


def seats(mailboxes: int, pop3: Collection[str] = ()) -> list[Seat]:
    """The first ``mailboxes`` seats; past the named ones they are numbered and read by IMAP.

    ``pop3``: addresses that are read by POP3, whatever their seat says.
    """
    numbered = (Seat(f"user{number:05d}@contoso.com", "imap") for number in range(len(SEATS), mailboxes))
    chosen = [*SEATS[:mailboxes], *numbered]
    return [Seat(each.address, "pop3") if each.address in pop3 else each for each in chosen]


def furnish(store: Store, chosen: list[Seat], messages: int, mail: Path | None, seed: int) -> None:
    """Create the mailboxes and fill them: with generated mail, or with the mail files at ``mail``.

    ``messages``: generated messages in all, the first mailbox having most of them. Raises
    ``UsageError`` where ``mail`` holds no message.
    """
    for seat in chosen:
        _create(store, seat.address)
    store.create_folder(chosen[0].address, HIDDEN, hidden=True)
    store.create_folder(chosen[0].address, SEARCH, search=True)
    _create(store, REFUSED)
    store.mailbox(REFUSED).granted = False
    if mail is not None:
        _fill_from_files(store, chosen, mail)
        return
    for seat, share in zip(chosen, _shares(messages, len(chosen)), strict=True):
        for letter in generate(seat.address, share, seed):
            store.deliver(seat.address, letter.folder, letter.mime, letter.received_at, letter.flags)
    if messages:
        for letter in generate(f"staging.{chosen[0].address}", _HIDDEN_MESSAGES, seed):
            store.deliver(chosen[0].address, HIDDEN, letter.mime, letter.received_at)


def _shares(messages: int, mailboxes: int) -> Iterator[int]:
    weights = [1 / (place + 1) for place in range(mailboxes)]
    left = messages
    for weight in weights[1:]:
        share = int(messages * weight / sum(weights))
        left -= share
    yield left
    for weight in weights[1:]:
        yield int(messages * weight / sum(weights))


def _create(store: Store, address: str) -> None:
    store.create_mailbox(address)
    for path, role in _MAIL_FOLDERS.items():
        store.create_folder(address, path, role)
    for path, item_class in _OTHER_FOLDERS.items():
        store.create_folder(address, path, item_class=item_class)


def _fill_from_files(store: Store, chosen: list[Seat], mail: Path) -> None:
    """Every message goes to one mailbox, in turn by folder, so that a folder stays together."""
    owners: dict[str, Seat] = {}
    found = 0
    for folder, letter in read_mail(mail):
        found += 1
        seat = owners.setdefault(folder, chosen[len(owners) % len(chosen)])
        # POP3 shows the Inbox only.
        path = _ensure_folder(store, seat.address, folder) if seat.legacy == "imap" else "Inbox"
        store.deliver(seat.address, path, letter.mime, _received(letter.mime), frozenset(letter.flags))
    if not found:
        raise UsageError(
            f"{mail} holds no mail", remedy="name an mbox or .eml file, a Maildir, or a folder of these"
        )


def _received(mime: bytes) -> datetime | None:
    """When it was sent, as far as that can be: files do not say when a message was received."""
    sent_at = identity_from_headers(mime[:_HEADERS]).sent_at
    return sent_at if sent_at and _OLDEST < sent_at < datetime.now(UTC) else None


def _ensure_folder(store: Store, address: str, path: str) -> str:
    """Create what is not there of ``path``, and return it as the mailbox has it."""
    first, *below = path.split("/")
    if first.lower() in ("", "inbox"):
        first = "Inbox"
    elif first in _OTHER_FOLDERS:
        # Mail filed under a name that Exchange keeps for other items.
        first = f"{first} (mail)"
    made = ""
    for level in (first, *below):
        made = f"{made}/{level}".lstrip("/")
        if made not in store.mailbox(address).folders:
            store.create_folder(address, made)
    return made


def write_configuration(
    directory: Path, chosen: list[Seat], https_port: int, imap_port: int, pop3_port: int
) -> Path:
    """Write ``mailover.yaml`` for the tenant into ``directory``, and return its path."""
    mailboxes = "".join(f"  - address: {seat.address}\n    legacy: {seat.legacy}\n" for seat in chosen)
    path = directory / "mailover.yaml"
    text = (
        f"# The sandbox tenant. Its secret: export {SECRET_VARIABLE}=$(cat client-secret)\n"
        f"tenant:\n  id: {TENANT_ID}\n  client_id: {CLIENT_ID}\n"
        f"  credential:\n    secret_env: {SECRET_VARIABLE}\n"
        f"  endpoints:\n    authority: https://localhost:{https_port}\n"
        f"    graph: https://localhost:{https_port}/v1.0\n"
        f"    imap: localhost:{imap_port}\n    pop3: localhost:{pop3_port}\n    ca_file: ca.pem\n"
        f"storage:\n  lake: ./lake\n  index: sqlite:///mailover.db\n"
        f"mailboxes:\n{mailboxes}"
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path
