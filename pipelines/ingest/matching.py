"""Recognising messages in a listing: no body is downloaded for what the lake already has.

A listing proves less than bytes do, so it has to be the only one of its kind on both
sides, to agree in the server's own time where both sides know it and, within one protocol,
in size, and must not have been changed since the mailbox was last read.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from pipelines.index.lookup import Candidate, Elsewhere, Known, candidates
from pipelines.sources.base import Entry


def recognise(
    connection: sa.Connection,
    mailbox_id: int,
    protocol: str,
    entries: Sequence[Entry],
    taken: set[str],
    last_read: datetime | None,
    *,
    new_here: bool,
) -> dict[str, str]:
    """Message keys by native id, for the entries that stand for a message of the lake.

    ``taken``: message keys this folder has been given already; extended by what is found.
    ``last_read``: when the newest complete pass over the mailbox began: what was changed
    later may have been edited, and only its bytes can tell. ``new_here``: only messages
    count that this protocol never showed, since an edit gives a message a new id there.
    """
    header_keys = [each.identity.header_key if each.identity else None for each in entries]
    seen = Counter(header_keys)
    known = candidates(
        connection, mailbox_id, protocol, [key for key in header_keys if key and seen[key] == 1]
    )
    found: dict[str, str] = {}
    for entry, header_key in zip(entries, header_keys, strict=True):
        some = known.get(header_key, []) if header_key else []
        if len(some) != 1 or some[0].message_key in taken or some[0].seen_at is None:
            continue
        if _changed_since(entry, some[0], last_read):
            continue
        if not (new_here and some[0].shown_before) and _agrees(entry, some[0]):
            taken.add(some[0].message_key)
            found[entry.native_id] = some[0].message_key
    return found


def is_edited(entry: Entry, known: Known) -> bool:
    """Whether the listing shows other content under an id than what was read under it."""
    if entry.content_mark is None:
        return False
    if known.content_mark is None:
        # The index was rebuilt, which forgets marks.
        return entry.modified_at is not None and entry.modified_at > known.first_seen_at
    return entry.content_mark != known.content_mark


def has_moved(entry: Entry, elsewhere: Elsewhere) -> bool:
    """Whether a mailbox-wide id, seen in another folder before, shows the same content here."""
    return entry.content_mark is not None and entry.content_mark == elsewhere.content_mark


def _changed_since(entry: Entry, candidate: Candidate, last_read: datetime | None) -> bool:
    if entry.modified_at is None:
        return False
    read_at = [moment for moment in (last_read, candidate.seen_at) if moment]
    return not read_at or entry.modified_at > max(read_at)


def _agrees(entry: Entry, candidate: Candidate) -> bool:
    # What stands in for a message is no reason not to fetch it.
    if candidate.fidelity != "mime":
        return False
    # POP3 and mail files know no time of receipt, and IMAP's is in whole seconds.
    timed = candidate.received_by_server and entry.received_at is not None
    if timed and _second(entry.received_at) != _second(candidate.received_at):
        return False
    return not candidate.listed_sizes or entry.size in candidate.listed_sizes


def _second(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(microsecond=0)
