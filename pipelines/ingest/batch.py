"""What a mailbox's pass has read and not yet written: bounded in bytes and in messages."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import pyarrow as pa

from pipelines.index.changes import (
    Accepted,
    Changes,
    Evidence,
    NewFile,
    NewMessage,
    NewOccurrence,
    NewRaw,
    Quarantined,
    RoundAccount,
    Superseded,
    Unmatched,
)
from pipelines.index.commit import commit
from pipelines.index.lease import Lease
from pipelines.index.lookup import Elsewhere, known_raws, message_rows
from pipelines.index.quarantine import QuarantineEntry
from pipelines.index.standins import StandIn, stand_ins
from pipelines.ingest.forms import Read, find_forms
from pipelines.ingest.outcomes import as_listed, by_server, entry_of, message_row, raw_row
from pipelines.ingest.ownership import next_stem, sweep_retired
from pipelines.ingest.standins import rest_of_files
from pipelines.ingest.workspace import Workspace
from pipelines.lake import Dataset
from pipelines.lake.datasets import data_path
from pipelines.lake.schema import messages_table, raw_table
from pipelines.mime import normalise, plain_text
from pipelines.mime.process import Made, Unreadable
from pipelines.sources.base import Entry, Fetched, FetchFailed

MAX_MESSAGES = 2_000
"""Small mail costs more per message than per byte: rows, records and SQL parameters."""

Item = TypeVar("Item")


@dataclass(slots=True)
class Totals:
    """What a pass has brought into the lake."""

    messages: int = 0
    raws: int = 0
    bytes: int = 0
    files: int = 0
    downloads: int = 0


class Batch:
    """Collects outcomes of one mailbox and writes them: files, and the transaction that makes them count."""

    def __init__(self, workspace: Workspace, lease: Lease) -> None:
        self._lake, self._index, self._clock = workspace.lake, workspace.index, workspace.clock
        self._writers = workspace.writers
        self.lease = lease
        self.totals = Totals()
        self.broken = False
        """A write failed: what was collected is neither written nor forgotten, so nothing can follow it."""
        self._waiting: dict[tuple[int, str], Read] = {}
        """What was left unmatched, by folder and native id, for as long as there is room for it."""
        self._budget = workspace.config.ingest.batch_bytes
        self._clear()

    def _clear(self) -> None:
        self._read: list[Read] = []
        self._bytes = 0
        self._changes = Changes()
        self._accounts: dict[int, RoundAccount] = {}
        self._pending: dict[tuple[int, str], str | None] = {}
        """Marks of content by folder and native id, for the ids that have their outcome in here."""

    def pending(self, account: RoundAccount, native_id: str) -> bool:
        """Whether this id already has its outcome in what is not yet written."""
        return (account.folder_id, native_id) in self._pending

    def outdated(self, account: RoundAccount, entry: Entry) -> bool:
        """Whether it has another: it was listed with other content then, or no more."""
        pending = self._pending.get((account.folder_id, entry.native_id), entry.content_mark)
        ended = self._changes.ended.get(account.folder_id, ())
        return pending != entry.content_mark or entry.native_id in ended

    @property
    def has_outcomes(self) -> bool:
        """Whether more waits than cursors and accounts of rounds, which nothing in a pass reads again."""
        return bool(self._read) or self._changes != Changes(cursors=self._changes.cursors)

    def expect(self, account: RoundAccount, count: int) -> None:
        """Take ``count`` more listed ids into the account."""
        self._touch(account)
        account.listed += count

    def store(
        self,
        account: RoundAccount,
        protocol: str,
        fetched: Fetched,
        made: Made,
        *,
        edited: bool = False,
        own_content: bool = False,
        compared: bool = False,
        accepted: bool = False,
        may_wait: bool = False,
        in_part: bool = False,
        is_as_listed: Callable[[Entry], bool] = lambda _entry: True,
    ) -> None:
        """A message came, with its record; written at once if the batch is full with it.

        ``edited``: its id stood for other content before. ``own_content``: it is itself only,
        never a weak match of another protocol's message. ``compared``: unless the lake has its
        message, its id counts as unmatched and the lake gets nothing. ``accepted``: a form that
        a person accepted stands for it. ``may_wait``: its round will ``settle`` it, if it may be
        another protocol's form of a message; ``in_part`` as there. ``is_as_listed`` asks the
        server whether it still lists the message as it did before it was fetched.
        """
        if self._read and len(fetched.mime) >= self._budget:
            # It is a batch of its own: what waits would be held in memory while this one is written.
            self.flush()
        entry, now = fetched.entry, self._clock.now()
        if isinstance(made, Unreadable):
            detail = f"the normaliser failed with {made.error}; its bytes are kept"
            failed = FetchFailed(entry, "unreadable", detail, fallback=fetched.mime)
            self.fail(account, failed, edited=edited, accepted=accepted)
            return
        received_at = entry.received_at or made.sent_at or now
        self._touch(account)
        account.stored += 1
        account.bytes += len(fetched.mime)
        self._take(
            Read(
                account,
                protocol,
                entry,
                fetched.mime,
                made,
                received_at,
                now,
                edited,
                own_content,
                compared,
                accepted,
                may_wait=may_wait,
                in_part=in_part,
                is_as_listed=is_as_listed,
            )
        )

    def accept(self, held: QuarantineEntry, form: bytes, actor: str, reason: str, *, edited: bool) -> None:
        """Let the form that the server offers stand for a message in quarantine, as a person decided.

        ``edited``: its id stood for other content before.
        """
        assert held.fidelity, "a form without it cannot stand for its message"
        record = normalise(form)
        self._changes.accepted.append(Accepted(held.row_id, actor, reason))
        self._take(
            Read(
                RoundAccount(held.folder_id, held.folder, held.last_seen),
                held.protocol,
                entry_of(held),
                form,
                record,
                held.received_at or record.sent_at or held.last_seen,
                held.last_seen,
                edited,
                own_content=held.role == "drafts",
                compared=False,
                fidelity=held.fidelity,
            )
        )

    def settle(self, account: RoundAccount, native_id: str, *, in_part: bool, edited: bool) -> bool:
        """Decide what has waited, once everything that its protocol shows was looked at.

        ``in_part``: it was not. ``edited`` as for ``store``. False where its bytes were not kept.
        """
        read = self._waiting.pop((account.folder_id, native_id), None)
        if read is None:
            return False
        self._touch(account)
        account.stored += 1
        account.bytes += len(read.mime)
        self._take(dataclasses.replace(read, may_wait=False, in_part=in_part, edited=edited))
        return True

    def _take(self, read: Read) -> None:
        self._read.append(read)
        self._pending[read.account.folder_id, read.entry.native_id] = read.entry.content_mark
        self._bytes += len(read.mime)
        self._flush_if_full()

    def know(self, account: RoundAccount, live: dict[str, bool]) -> None:
        """Ids that stand for messages of the lake; False marks those that were taken for removed."""
        self._touch(account)
        account.known += len(live)
        revived = {native_id for native_id, is_live in live.items() if not is_live}
        if revived:
            self._changes.revived.setdefault(account.folder_id, set()).update(revived)

    def mark(self, account: RoundAccount, entries: Iterable[Entry]) -> None:
        """Keep the marks of content of ids that are known and have none."""
        marks = {each.native_id: each.content_mark for each in entries if each.content_mark}
        if marks:
            self._changes.marks.setdefault(account.folder_id, {}).update(marks)

    def link(
        self,
        account: RoundAccount,
        entry: Entry,
        message_key: str,
        *,
        evidence: Evidence = Evidence.LISTING,
        edited: bool = False,
    ) -> None:
        """An id whose message was recognised from the listing; ``edited`` as for ``store``."""
        self._link(
            account, NewOccurrence(as_listed(account, entry), message_key, None, evidence), edited=edited
        )

    def follow(
        self, account: RoundAccount, entry: Entry, elsewhere: Elsewhere, *, edited: bool = False
    ) -> None:
        """A mailbox-wide id whose message was read in another folder; ``edited`` as for ``store``."""
        key, digest = elsewhere.message_key, elsewhere.raw_sha256
        self._link(account, NewOccurrence(as_listed(account, entry), key, digest, Evidence.ID), edited=edited)

    def _link(self, account: RoundAccount, occurrence: NewOccurrence, *, edited: bool) -> None:
        self._touch(account)
        account.known += 1
        self._pending[account.folder_id, occurrence.listed.native_id] = occurrence.listed.content_mark
        (self._changes.edited if edited else self._changes.occurrences).append(occurrence)
        self._flush_if_full()

    def fail(
        self, account: RoundAccount, failed: FetchFailed, *, edited: bool = False, accepted: bool = False
    ) -> None:
        """A listed message that could not be had: quarantined, or gone since it was listed.

        ``accepted``: a form stands for it, and goes on to unless it is gone.
        """
        self._touch(account)
        self._pending[account.folder_id, failed.entry.native_id] = failed.entry.content_mark
        listed = as_listed(account, failed.entry)
        if accepted and not failed.gone:
            account.known += 1
            self._changes.still_missing.append(listed)
            return
        if edited:
            self.end(account, {failed.entry.native_id})
        if failed.gone:
            account.gone += 1
            self._changes.gone.append(listed)
            return
        account.quarantined += 1
        digest = None
        if failed.fallback is not None:
            digest = hashlib.sha256(failed.fallback).hexdigest()
            self._lake.keep_fallback(self.lease.address, digest, failed.fallback)
        self._changes.quarantined.append(
            Quarantined(listed, failed.reason, failed.detail, digest, failed.entry.identity, failed.fidelity)
        )
        self._flush_if_full()

    def end(self, account: RoundAccount, native_ids: set[str]) -> None:
        """Ids that the server does not list any more."""
        self._touch(account)
        self._changes.ended.setdefault(account.folder_id, set()).update(native_ids)

    def sweep(self, account: RoundAccount) -> None:
        """All ids of the folder were listed."""
        self._touch(account)
        self._changes.swept.add(account.folder_id)

    def move_cursor(self, account: RoundAccount, cursor: str) -> None:
        """Every id up to ``cursor`` has its outcome, here or in an earlier commit."""
        self._touch(account)
        self._changes.cursors[account.folder_id] = cursor

    def _touch(self, account: RoundAccount) -> None:
        self._accounts[account.folder_id] = account

    def _flush_if_full(self) -> None:
        if self._bytes >= self._budget or len(self._pending) >= MAX_MESSAGES:
            self.flush()

    def flush(self) -> None:
        """Write everything collected so far; nothing of it exists before, all of it after."""
        if not self._accounts and not self._read:
            return
        self._changes.rounds = list(self._accounts.values())
        self.broken = True
        try:
            self._sort_out()
            if not self._lake.is_local:
                # Others wait for the end of a transaction, which is not to wait for an object store.
                self._await_files()
            commit(self._index, self.lease, self._changes, self._clock.now())
        finally:
            self._await_files()
        self.broken = False
        self.totals.messages += len(self._changes.messages)
        self.totals.raws += len(self._changes.raws)
        self.totals.files += len(self._changes.files)
        self.totals.bytes += sum(each.published.result().size for each in self._changes.files.values())
        self.totals.downloads += len(self._read)
        rewritten = self._changes.rewritten
        self._clear()
        if rewritten:
            sweep_retired(self._lake, self._index, self.lease)

    def _await_files(self) -> None:
        """Let the files be written, or fail: nothing of this batch is written after it."""
        wait([each.published for each in self._changes.files.values()])

    def _sort_out(self) -> None:
        """Tell new from known and publish the files of what is new."""
        if not self._read:
            return
        with self._index.read() as connection:
            raws = known_raws(
                connection, self.lease.mailbox_id, [read.record.raw_sha256 for read in self._read]
            )
            keys = set(
                message_rows(
                    connection, self.lease.mailbox_id, [read.record.message_key for read in self._read]
                )
            )
            forms = find_forms(connection, self.lease.mailbox_id, self._read, keys, self._changes)
            standing = stand_ins(connection, self.lease.mailbox_id)
        weak = forms.proven()
        giving_way = self._giving_way(standing, weak)
        keys.update(raws.values(), weak.values())
        keys -= {each.message_key for each, _ in giving_way}
        expected = {read.record.raw_sha256 for _, read in giving_way}
        new_raws: list[tuple[Read, str]] = []
        new_messages: dict[str, list[Read]] = {}
        for read in self._read:
            digest, own_key = read.record.raw_sha256, read.record.message_key
            # Bytes known under the key of an older normaliser stay with that message.
            # So do those of a form that its protocol has shown before, if with other headers.
            key = raws.get(digest) or weak.get(own_key, own_key)
            waits = own_key in forms.waiting and digest not in raws
            if (read.compared or waits) and key not in keys and digest not in expected:
                later = read.may_wait or own_key in forms.undecided
                self._leave_unmatched(read, may_match_later=later)
                continue
            if digest in raws:
                evidence = Evidence.BYTES
            elif key != own_key:
                evidence = Evidence.WEAK
            else:
                evidence = Evidence.KEY if key in keys else Evidence.BYTES
            if digest not in raws:
                raws[digest] = key
                new_raws.append((read, key))
            if key not in keys:
                keys.add(key)
                new_messages[key] = []
            if key in new_messages:
                new_messages[key].append(read)
            changed = self._changes.edited if read.edited else self._changes.occurrences
            changed.append(NewOccurrence(as_listed(read.account, read.entry), key, digest, evidence))
        self._changes.superseded = [
            Superseded(each.row_id, each.message_key, raws[read.record.raw_sha256])
            for each, read in giving_way
        ]
        self._publish_raws(new_raws)
        rest = rest_of_files(self._lake, [each for each, _ in giving_way])
        self._publish_messages(list(new_messages.values()), rest)

    def _giving_way(self, standing: Iterable[StandIn], weak: dict[str, str]) -> list[tuple[StandIn, Read]]:
        """Stand-ins whose message came, each with it.

        It came under the id for which the form was accepted, with the key of the form, or as
        what would else be its weak match; of those, ``weak`` is told no more.
        """
        by_id = {(each.folder_id, each.native_id): each for each in standing}
        by_key = {each.message_key: each for each in by_id.values()}
        found: dict[int, tuple[StandIn, Read]] = {}
        for read in self._read:
            if read.fidelity != "mime":
                continue
            own_key = read.record.message_key
            asked_for = by_id.get((read.account.folder_id, read.entry.native_id)) if read.accepted else None
            matched = by_key.get(weak.get(own_key, ""))
            if matched:
                del weak[own_key]
            for each in (asked_for, matched, by_key.get(own_key)):
                if each:
                    found.setdefault(each.row_id, (each, read))
        return list(found.values())

    def leave_unmatched(self, account: RoundAccount, protocol: str, entry: Entry) -> None:
        """An id of a compared protocol that the listing alone tells to have no message in the lake."""
        assert entry.identity
        self._touch(account)
        account.unmatched += 1
        self._pending[account.folder_id, entry.native_id] = entry.content_mark
        told = entry.identity
        self._changes.unmatched.append(
            Unmatched(
                as_listed(account, entry),
                protocol,
                None,
                False,
                told.header_key,
                told.message_id,
                told.subject,
            )
        )
        self._flush_if_full()

    def _leave_unmatched(self, read: Read, *, may_match_later: bool) -> None:
        """The lake has no message for it, and may not get one by it, or not yet."""
        read.account.stored -= 1
        read.account.unmatched += 1
        listed, record = as_listed(read.account, read.entry), read.record
        self._changes.unmatched.append(
            Unmatched(
                listed,
                read.protocol,
                record.message_key,
                may_match_later,
                record.header_key,
                record.message_id,
                record.subject,
            )
        )
        if read.edited:
            self.end(read.account, {read.entry.native_id})
        if sum(len(each.mime) for each in self._waiting.values()) + len(read.mime) <= self._budget:
            self._waiting[read.account.folder_id, read.entry.native_id] = read

    def _publish_raws(self, new: list[tuple[Read, str]]) -> None:
        for year, some in _by_year(new, lambda each: each[0].received_at).items():
            rows = [raw_row(read, key) for read, key in some]
            path = self._publish(Dataset.RAW, year, raw_table(rows))
            self._changes.raws += [
                NewRaw(
                    row.raw_sha256,
                    row.message_key,
                    len(row.mime),
                    path,
                    row.protocol,
                    read.record.message_key if row.weak else None,
                )
                for row, (read, _) in zip(rows, some, strict=True)
            ]

    def _publish_messages(self, new: list[list[Read]], rest: dict[int, dict[str, pa.Table]]) -> None:
        """Publish new rows and, by year and path, what is left of files that stand-ins leave."""
        by_year = _by_year(new, lambda reads: reads[0].received_at)
        for year in by_year.keys() | rest.keys():
            some, left = by_year.get(year, []), rest.get(year, {})
            rows = [message_row(reads) for reads in some]
            table = pa.concat_tables([messages_table(rows), *left.values()], promote_options="default")
            if table.num_rows == 0:
                self._changes.rewritten |= dict.fromkeys(left)
                continue
            path = self._publish(Dataset.MESSAGES, year, table)
            self._changes.rewritten |= dict.fromkeys(left, path)
            self._changes.messages += [
                NewMessage(row, by_server(reads[0].entry), path, plain_text(row.record))
                for row, reads in zip(rows, some, strict=True)
            ]

    def _publish(self, dataset: Dataset, year: int, table: pa.Table) -> str:
        stem = next_stem(self._index, self.lease)
        address = self.lease.address
        path = data_path(dataset, address, year, stem)
        published = self._writers.submit(self._lake.publish, dataset, address, year, stem, table)
        self._changes.files[path] = NewFile(dataset, table.num_rows, published)
        if len(self._read) == 1:
            # It may be large: it is not held beside the table of its other file.
            self._await_files()
        return path


def _by_year(items: Sequence[Item], moment: Callable[[Item], datetime]) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(moment(item).year, []).append(item)
    return found
