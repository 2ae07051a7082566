"""Weak matches: another protocol's form of a message, with other content.

Exchange makes MIME for each protocol anew, and what it makes may differ in what a person
reads. Such a form belongs to its message, where each side shows exactly one of its
Message-ID, date, sender and subject, in the same folder, and nothing tells that it was
edited in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from pipelines.index.candidates import held_by_others, known_forms, places_of, weak_candidates
from pipelines.index.changes import Changes, RoundAccount
from pipelines.ingest.matching import changed_since, may_be_held
from pipelines.mime import Record
from pipelines.sources.base import Entry


@dataclass(frozen=True, slots=True)
class Read:
    """A message that came, and how."""

    account: RoundAccount
    protocol: str
    entry: Entry
    mime: bytes
    record: Record
    received_at: datetime
    fetched_at: datetime
    edited: bool
    """Whether its id stood for other content before."""
    own_content: bool
    """Whether it may not pass for another protocol's form of a message: a draft changes as it is written."""
    compared: bool
    """Whether it came to be compared only, and brings no message into the lake."""
    accepted: bool = False
    """Whether a form was accepted for its message, which now gives way to it."""
    fidelity: str = "mime"
    """Anything else names the form that it is."""
    may_wait: bool = False
    """Whether its round will come back to it when everything that its protocol shows was looked at."""
    in_part: bool = False
    """Whether not everything could be looked at, so that what it shows once may be there twice."""
    is_as_listed: Callable[[Entry], bool] = lambda _entry: True
    """Asks the server whether it still lists it as it did before it was fetched."""


@dataclass(slots=True)
class Forms:
    """Which messages of the lake came in another form; keys are those the forms have by themselves."""

    known: dict[str, str] = field(default_factory=dict)
    """Message keys by key of the form, where the protocol has shown that form before."""
    likely: dict[str, str] = field(default_factory=dict)
    """Message keys by key of the form, where each side shows exactly one."""
    reads: dict[str, list[Read]] = field(default_factory=dict)
    """What came, by key, for the likely ones."""
    waiting: set[str] = field(default_factory=set)
    """Keys of what may be a form, if the protocol turns out to show nothing else like it."""
    undecided: set[str] = field(default_factory=set)
    """Keys of what may be a form, and cannot be told to be one now: it was changed after the lake had
    read its message, or may be one that the other protocol cannot deliver."""

    def proven(self) -> dict[str, str]:
        """The known and the likely ones, these only if nothing was edited while it was being read."""
        for own_key in list(self.likely):
            if not all(read.is_as_listed(read.entry) for read in self.reads[own_key]):
                self.undecided.add(own_key)
                del self.likely[own_key]
        return {**self.likely, **self.known}


def find_forms(
    connection: sa.Connection,
    mailbox_id: int,
    reads: Sequence[Read],
    known: set[str],
    changes: Changes,
) -> Forms:
    """Look for messages of which ``reads`` are other forms.

    ``known``: keys of messages that the lake has, which need no other. ``changes``: what else
    the batch has to tell of the mailbox.
    """
    found = Forms()
    for protocol in {read.protocol for read in reads}:
        some = [read for read in reads if read.protocol == protocol]
        keys = {read.record.message_key for read in some}
        found.known |= known_forms(connection, mailbox_id, protocol, list(keys - known))
        _find_likely(connection, mailbox_id, protocol, some, known | found.known.keys(), changes, found)
    return found


def _find_likely(
    connection: sa.Connection,
    mailbox_id: int,
    protocol: str,
    reads: Sequence[Read],
    known: set[str],
    changes: Changes,
    found: Forms,
) -> None:
    held = {each.identity.header_key for each in changes.quarantined if each.identity}
    came: dict[str, list[Read]] = {}
    for read in reads:
        if read.record.header_key and read.record.header_key not in held:
            came.setdefault(read.record.header_key, []).append(read)
    single = {header_key: some for header_key, some in came.items() if _are_one(some, known)}
    ids = {each.entry.native_id for some in single.values() for each in some}
    own_keys = {each.record.message_key for some in single.values() for each in some}
    # A body that was fetched to check its own match stands in the way of no other.
    compared = {read.entry.native_id: read.entry.content_mark for read in reads if read.compared}
    taken = {
        each.message_key
        for each in changes.occurrences
        if each.listed.content_mark is None or each.listed.content_mark not in compared.values()
    } | {read.record.message_key for read in reads if read.record.message_key in known}
    alone = weak_candidates(connection, mailbox_id, protocol, list(single), ids, own_keys, compared)
    places = places_of(connection, {read.account.folder_id for read in reads}) if alone else {}
    held_elsewhere = held_by_others(connection, mailbox_id, protocol) if alone else []
    for header_key, candidate in alone.items():
        some = single[header_key]
        own_key = some[0].record.message_key
        # They are one message: what is true of one of them is true of all.
        in_place = [read for read in some if places[read.account.folder_id] in candidate.places]
        if not in_place:
            continue
        if any(read.may_wait for read in some):
            found.waiting.add(own_key)
        elif any(
            may_be_held(read.entry, header_key, each) for read in some for each in held_elsewhere
        ) or all(changed_since(read.entry, candidate, places[read.account.folder_id]) for read in in_place):
            found.undecided.add(own_key)
        elif candidate.message_key not in taken:
            found.likely[own_key] = candidate.message_key
            found.reads[own_key] = some


def _are_one(reads: Sequence[Read], known: set[str]) -> bool:
    """Whether they are one message, which the lake does not have and which is no draft."""
    keys = {read.record.message_key for read in reads}
    apart = any(read.own_content or read.in_part for read in reads)
    return len(keys) == 1 and not keys & known and not apart
