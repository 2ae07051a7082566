"""Small faults put into the real code while it runs, each of which the simulation has to find.

A mutant names a function and a text of its source; the function is compiled again with
another text in its place. Where the text is not there any more, the mutant says so.
"""

import __future__

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is done wrong, and where."""

    name: str
    where: str
    """A function, as ``module:name`` or ``module:Class.name``."""
    instead_of: str
    written: str
    kills: tuple[int, ...]
    """Seeds of histories that have shown it."""

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Every caller of the function meets the mutant in the block."""
        function = _function(self.where)
        sound = function.__code__
        function.__code__ = self._code(function)
        try:
            yield
        finally:
            function.__code__ = sound

    def _code(self, function: FunctionType) -> CodeType:
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.instead_of) != 1:
            raise LookupError(f"{self.name}: {self.where} has no single {self.instead_of!r} any more")
        changed = source.replace(self.instead_of, self.written)
        names: dict[str, Any] = {}
        flags = __future__.annotations.compiler_flag
        exec(compile(changed, self.where, "exec", flags), function.__globals__, names)  # noqa: S102
        code: CodeType = _plain(names[function.__name__]).__code__
        return code


def _function(where: str) -> FunctionType:
    return _plain(resolve_name(where))


def _plain(found: Any) -> FunctionType:
    """The function itself, without what decorates it."""
    function = inspect.unwrap(getattr(found, "fget", found))
    assert isinstance(function, FunctionType)
    return function


_ROUND, _BATCH = "pipelines.ingest.rounds:Round", "pipelines.ingest.batch:Batch"
_MATCHING, _FORMS = "pipelines.ingest.matching", "pipelines.ingest.forms"
_SWITCH, _COMMIT = "pipelines.cutover.switch", "pipelines.index.commit"
_CANDIDATES = "pipelines.index.candidates"

COMMIT_ORDER = (
    Mutant(
        "the cursor moves before its page is accounted for",
        f"{_ROUND}.walk",
        "        self._account_for(step.entries,",
        "        self._batch.move_cursor(self.account, step.cursor)\n        self._account_for(step.entries,",
        kills=(0,),
    ),
    Mutant(
        "cursors are committed before the files are written",
        f"{_BATCH}.flush",
        "        self._sort_out()\n",
        "        ahead = Changes(cursors=self._changes.cursors)\n"
        "        commit(self._index, self.lease, ahead, self._clock.now())\n"
        "        self._sort_out()\n",
        kills=(0,),
    ),
    Mutant(
        "an edit's old outcome ends after the new one is held",
        f"{_COMMIT}:_write",
        "    _mark(connection, changes.ended, now)\n",
        "    _mark(connection, {}, now)\n",
        kills=(0,),
    ),
    Mutant(
        "orphans of a crash are left in the lake",
        "pipelines.ingest.ownership:claim",
        "            lake.delete(path)\n",
        "            pass\n",
        kills=(30,),
    ),
    Mutant(
        "orphans are swept by name alone, whoever wrote them",
        "pipelines.ingest.ownership:_own",
        "    index_id, epoch, number = named.groups()\n",
        "    return True\n    index_id, epoch, number = named.groups()\n",
        kills=(5,),
    ),
    Mutant(
        "a commit does not look whose lease it is",
        "pipelines.index.lease:renew",
        "    if taken.rowcount != 1:\n",
        "    if False:\n",
        kills=(30,),
    ),
)
CURSORS = (
    Mutant(
        "a reset goes on as if nothing had been listed again",
        f"{_ROUND}.walk",
        "            from_start = True\n            continue\n",
        "            return\n",
        kills=(16,),
    ),
    Mutant(
        "counts that differ are left as they are",
        f"{_ROUND}.reconcile",
        "    if self._is_to_be_swept or self.account.server_count != self.account.lake_count:\n",
        "    if False:\n",
        kills=(0,),
    ),
    Mutant(
        "ids that vanished stay",
        f"{_ROUND}._compare_ids",
        "        self._batch.end(self.account, vanished)\n",
        "        pass\n",
        kills=(0,),
    ),
    Mutant(
        "ids that only the full listing has are left out",
        f"{_ROUND}._compare_ids",
        "        self._account_for(list(entries), recognise_all=False)\n",
        "        pass\n",
        kills=(16,),
    ),
    Mutant(
        "what came back is still removed",
        f"{_BATCH}.know",
        "    if revived:\n",
        "    if False:\n",
        kills=(8,),
    ),
    Mutant(
        "quarantine is never asked for again",
        f"{_ROUND}._retry_quarantined",
        "        due = due_for_retry(connection, self.account.folder_id, self._clock.now())\n",
        "        due = []\n",
        kills=(8,),
    ),
    Mutant(
        "what moved out of quarantine is asked for where it was",
        f"{_ROUND}._retry_quarantined",
        "    self._batch.flush()\n",
        "",
        kills=(90210,),
    ),
    Mutant(
        "what had no match is not looked at again",
        f"{_ROUND}.settle",
        "    if in_part and self._compared:\n",
        "    if True:\n",
        kills=(12,),
    ),
    Mutant(
        "an edit under a known id is not seen",
        f"{_MATCHING}:is_edited",
        "    return entry.content_mark != known.content_mark\n",
        "    return False\n",
        kills=(23,),
    ),
    Mutant(
        "an id that moved is the same message, edited or not",
        f"{_MATCHING}:has_moved",
        "    return entry.content_mark is not None and entry.content_mark == elsewhere.content_mark\n",
        "    return True\n",
        kills=(30,),
    ),
)
MATCHING = (
    Mutant(
        "an edit after the lake had read it goes unseen by the listing",
        f"{_MATCHING}:changed_since",
        "    if not candidate.read_at:\n",
        "    return False\n    if not candidate.read_at:\n",
        kills=(5584,),
    ),
    Mutant(
        "what the other protocol cannot deliver may be a form of another message",
        f"{_MATCHING}:may_be_held",
        "    if held.header_key is not None:\n",
        "    return False\n    if held.header_key is not None:\n",
        kills=(5792,),
    ),
    Mutant(
        "a weak match takes a message that the protocol shows already",
        f"{_CANDIDATES}:weak_candidates",
        "*(~each for each in _linked(mailbox_id, protocol, compared)),",
        "",
        kills=(10,),
    ),
    Mutant(
        "what a listing told of a message before it moved stands in the way of its form",
        f"{_CANDIDATES}:_linked",
        "(alike | occurrences.c.removed_at.is_not(None))",
        "alike",
        kills=(7187,),
    ),
    Mutant(
        "only a message that differs is doubted, not the others of its Message-ID",
        "pipelines.cutover.passes:_doubted",
        "        keys |= keys_of_message_ids(connection, lease.mailbox_id, named)\n",
        "",
        kills=(5980,),
    ),
    Mutant(
        "a known form is forgotten",
        f"{_CANDIDATES}:known_forms",
        "    found: dict[str, str] = {}\n",
        "    return {}\n    found: dict[str, str] = {}\n",
        kills=(16,),
    ),
)
SWITCHING = (
    Mutant(
        "the last legacy round is left out",
        f"{_SWITCH}:_to_graph",
        "    one.feed()\n",
        "    pass\n",
        kills=(44,),
    ),
    Mutant(
        "Graph takes over whatever parity says",
        f"{_SWITCH}:_to_graph",
        "    if not may_switch(parity, words):\n",
        "    if False:\n",
        kills=(10,),
    ),
    Mutant(
        "poor parity can be accepted away",
        "pipelines.cutover.parity:may_switch",
        "    if parity.grade == Grade.POOR:\n",
        "    if False:\n",
        kills=(91,),
    ),
    Mutant(
        "nobody has to accept what differs",
        "pipelines.cutover.parity:open_items",
        "    done = set(accepted_items)\n",
        "    return []\n    done = set(accepted_items)\n",
        kills=(10,),
    ),
    Mutant(
        "the phase is changed and the journal is not",
        "pipelines.index.journal:flip",
        "        connection.execute(journal.insert()",
        "        (journal.insert()",
        kills=(0,),
    ),
    Mutant(
        "the lake gets no copy of the journal",
        f"{_SWITCH}:_flip",
        "    record_claim(workspace.lake, workspace.index, lease)\n",
        "    pass\n",
        kills=(12,),
    ),
    Mutant(
        "a lost index does not get its phase back",
        "pipelines.ingest.rebuild:rebuild",
        "    restore_journal(workspace.lake, workspace.index, lease, workspace.clock.now())\n",
        "    pass\n",
        kills=(11,),
    ),
    Mutant(
        "a message that Graph lacks is no difference",
        "pipelines.cutover.parity:_explain_missing",
        '    found.add(Kind.MISSING_IN_GRAPH, "Graph\'s listing does not have it", legacy=missing)\n',
        "    pass\n",
        kills=(58,),
    ),
    Mutant(
        "the lake is fed by the protocol that fed it before",
        "pipelines.ingest.passes:feeding_protocol",
        '== "graph" or',
        '== "elsewhere" or',
        kills=(16,),
    ),
)
MUTANTS = (*COMMIT_ORDER, *CURSORS, *MATCHING, *SWITCHING)
