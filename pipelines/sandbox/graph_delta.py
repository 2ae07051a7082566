"""Rounds of delta over one folder's messages.

Source: Microsoft, "Get incremental changes to messages in a folder" and "message: delta". What
goes beyond them was reported in public: the round that a filter cuts at 5,000 messages, ``$top``
that limits the whole round, removals in a first round, old changes told again, and with immutable
ids the message moved away and back that is told as removed and never again.
"""

from dataclasses import dataclass
from typing import Any

from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_filter import Condition, fulfils, read_filter
from pipelines.sandbox.graph_messages import MARKS, message_select
from pipelines.sandbox.graph_rounds import given_token, next_page, recall
from pipelines.sandbox.graph_states import DeltaState
from pipelines.sandbox.store import Change, ChangeKind, Folder

_FILTERED_MOST = 5000
_TYPE = "#microsoft.graph.message"
_CREATED, _UPDATED, _DELETED = "created", "updated", "deleted"
_IN_PLACE = (ChangeKind.UPDATED, ChangeKind.MARKED)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the first request asked for, and every link keeps."""

    select: tuple[str, ...] | None
    conditions: tuple[Condition, ...]
    newest_first: bool
    kinds: frozenset[str]
    most: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a round tells of one message."""

    kind: str
    immutable_id: str
    mutable_id: str
    flags: frozenset[str] | None = None
    """The flags that changed, where nothing else did."""


def message_delta(call: GraphCall, folder_id: str) -> dict[str, Any]:
    """A page of the changes in a folder."""
    token = given_token(call)
    folder = _folder(call, folder_id, known=token is not None)
    if token is None:
        state = _first_round(call, folder, _terms(call))
    else:
        state = recall(call, folder.folder_id, token)
        if state.ended:
            state = _next_round(call, folder, state)
    path = f"mailFolders('{folder.folder_id}')/messages"
    return next_page(call, folder.folder_id, state, path, lambda entry: _shown(call, state.terms, entry))


def _folder(call: GraphCall, folder_id: str, *, known: bool) -> Folder:
    try:
        folder = call.mailbox.folder(folder_id)
    except GraphError as error:
        if known and error.status == 404:
            raise GraphError(404, "ErrorSyncFolderNotFound") from None
        raise
    if folder.search:
        raise GraphError(400, "ErrorInvalidRequest")
    return folder


def _terms(call: GraphCall) -> _Terms:
    request = call.request
    conditions = read_filter(request.options.get("$filter"))
    if any(each.property != "receivedDateTime" or each.operator not in ("ge", "gt") for each in conditions):
        raise _unsupported("$filter has receivedDateTime ge or gt only")
    order = request.options.get("$orderby", "").split()
    if order not in ([], ["receivedDateTime", "desc"]):
        raise _unsupported("$orderby is receivedDateTime desc")
    if "$search" in request.options:
        raise _unsupported("there is no $search")
    kind = request.options.get("changetype")
    if kind not in (None, _CREATED, _UPDATED, _DELETED):
        raise _unsupported("changeType is created, updated or deleted")
    return _Terms(
        message_select(request.names("$select"), headers=call.has_headers),
        conditions,
        bool(order),
        frozenset([kind] if kind else [_CREATED, _UPDATED, _DELETED]),
        request.number("$top", 1),
    )


def _unsupported(what: str) -> GraphError:
    return GraphError(400, "ErrorInvalidUrlQuery", f"The query is not supported for delta: {what}.")


def _first_round(call: GraphCall, folder: Folder, terms: _Terms) -> DeltaState:
    """Everything that is in the folder."""
    store = call.mailbox.store
    upto, placed = store.snapshot(lambda: (store.latest_change, call.mailbox.messages(folder)))
    if terms.conditions:
        placed = [each for each in placed if fulfils(call.view(each), terms.conditions)]
    if terms.newest_first or terms.conditions:
        placed.sort(key=lambda each: each.message.received_at, reverse=True)
    else:
        call.random.shuffle(placed)
    entries = [_Entry(_CREATED, each.message.immutable_id, each.message.mutable_id) for each in placed]
    if terms.conditions:
        entries = entries[:_FILTERED_MOST]
    removed = [each for each in folder.changes if each.kind is ChangeKind.REMOVED]
    if removed and not terms.conditions and call.chance(call.settings.repeats):
        entries.insert(0, _Entry(_DELETED, removed[0].immutable_id, removed[0].mutable_id))
    return _state(terms, upto, entries)


def _next_round(call: GraphCall, folder: Folder, state: DeltaState) -> DeltaState:
    """What happened in the folder since the round before, told once for each id."""
    store, since = call.mailbox.store, state.upto
    upto, changes = store.snapshot(
        lambda: (store.latest_change, [each for each in folder.changes if each.number > since])
    )
    immutable = call.request.preferences.immutable_ids
    histories: dict[str, list[Change]] = {}
    for change in changes:
        named = change.immutable_id if immutable else change.mutable_id
        histories.setdefault(named, []).append(change)
    entries = [_outcome(history, moves_shown=call.settings.moves_shown) for history in histories.values()]
    told = [each for each in entries if each]
    if call.chance(call.settings.repeats):
        told += _again(call, folder)
    return _state(state.terms, upto, told)


def _again(call: GraphCall, folder: Folder) -> list[_Entry]:
    """An old change of some message."""
    placed = call.mailbox.messages(folder)
    if not placed:
        return []
    message = call.random.choice(placed).message
    return [_Entry(_UPDATED, message.immutable_id, message.mutable_id)]


def _outcome(history: list[Change], *, moves_shown: bool) -> _Entry | None:
    """What the changes of one id come to."""
    first, last = history[0], history[-1]
    ids = (last.immutable_id, last.mutable_id)
    was_there = first.kind in (*_IN_PLACE, ChangeKind.REMOVED)
    kinds = {each.kind for each in history}
    if last.kind is ChangeKind.REMOVED or (was_there and ChangeKind.REMOVED in kinds):
        # Gone; or gone and back under the same id, which Exchange tells as gone.
        return _Entry(_DELETED, *ids)
    if not was_there:
        hidden = first.kind is ChangeKind.MOVED_IN and len(history) == 1 and not moves_shown
        return None if hidden else _Entry(_CREATED, *ids)
    if kinds == {ChangeKind.MARKED}:
        return _Entry(_UPDATED, *ids, frozenset[str]().union(*(each.flags for each in history)))
    return _Entry(_UPDATED, *ids)


def _state(terms: _Terms, upto: int, entries: list[_Entry]) -> DeltaState:
    wanted = [each for each in entries if each.kind in terms.kinds]
    return DeltaState(terms, upto, tuple(wanted[: terms.most]))


def _shown(call: GraphCall, terms: _Terms, entry: _Entry) -> dict[str, Any] | None:
    """An entry as it is now; None for one that is not there any more, or that the filter leaves out."""
    if entry.kind == _DELETED:
        immutable = call.request.preferences.immutable_ids
        named = entry.immutable_id if immutable else entry.mutable_id
        return {"@odata.type": _TYPE, "id": named, "@removed": {"reason": "deleted"}}
    try:
        view = call.view(call.mailbox.message(entry.immutable_id))
    except GraphError:
        return None
    if view.message.mutable_id != entry.mutable_id or not fulfils(view, terms.conditions):
        return None
    select = terms.select
    if entry.flags is not None:
        changed = [MARKS[flag] for flag in sorted(entry.flags) if flag in MARKS]
        select = tuple(name for name in changed if terms.select is None or name in terms.select)
    return {"@odata.type": _TYPE, **view.json(select)}
