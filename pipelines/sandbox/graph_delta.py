"""Rounds of delta: what changed in a folder's messages, or in the folders, since a link.

Source: Microsoft, "Get incremental changes to messages in a folder", "message: delta",
"mailFolder: delta" and "Use delta query to track changes"; what goes beyond them was reported
in public: A→B→A with immutable ids, the round that a filter cuts at 5,000, ``$top``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pipelines.sandbox.faults import FaultKind
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_filter import Condition, read_filter
from pipelines.sandbox.graph_folders import folder_json, folder_select
from pipelines.sandbox.graph_messages import MARKS, message_select
from pipelines.sandbox.graph_states import DeltaState
from pipelines.sandbox.store import Change, ChangeKind, Folder

_USUAL_PAGE = 10
_FILTERED_MOST = 5000
_TYPE = "#microsoft.graph.message"
_CREATED, _UPDATED, _DELETED = "created", "updated", "deleted"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the first request of a chain asked for, and every link of it keeps."""

    select: tuple[str, ...] | None
    conditions: tuple[Condition, ...]
    newest_first: bool
    kinds: frozenset[str]
    most: int | None
    """``$top``: how much a round tells at most."""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a round."""

    kind: str
    immutable_id: str
    mutable_id: str
    flags: frozenset[str] | None = None
    """The flags that changed, where nothing else did."""


def message_delta(call: GraphCall, folder_id: str) -> dict[str, Any]:
    """A page of the changes in one folder."""
    token = _token(call)
    folder = _folder(call, folder_id, known=token is not None)
    if token is None:
        terms = _message_terms(call)
        upto, entries = _first_round(call, folder, terms)
        state = DeltaState(terms, upto, tuple(entries))
    else:
        state = _recall(call, folder.folder_id, token)
        if state.ended:
            upto, entries = _next_round(call, folder, state.terms, state.upto)
            state = DeltaState(state.terms, upto, tuple(entries))
    link = f"{call.user_url}/mailFolders('{folder.folder_id}')/messages/delta"
    return _page(call, folder.folder_id, token, state, link, lambda entry: _shown(call, state.terms, entry))


def folder_delta(call: GraphCall) -> dict[str, Any]:
    """A page of the changes in the mailbox's folders, nested ones included."""
    token, mailbox = _token(call), call.mailbox
    if token is None:
        hidden = call.request.flag("includehiddenfolders")
        terms = Terms(folder_select(call.request.names("$select")), (), False, frozenset(), None, hidden)
        before: dict[str, dict[str, Any]] = {}
        state = None
    else:
        state = _recall(call, mailbox.root.folder_id, token)
        terms, before = state.terms, state.upto
    if state is None or state.ended:
        folders = mailbox.folders(hidden=terms.hidden)
        now = {each.folder_id: folder_json(mailbox, each, terms.select) for each in folders}
        entries = [shown for folder_id, shown in now.items() if before.get(folder_id) != shown]
        gone = [{"id": each, "@removed": {"reason": "deleted"}} for each in before if each not in now]
        state = DeltaState(terms, now, (*entries, *gone))
    link = f"{call.user_url}/mailFolders/delta"
    return _page(call, mailbox.root.folder_id, token, state, link, lambda entry: entry)


def _token(call: GraphCall) -> str | None:
    """The token of a link; ``latest``, which Exchange does not know for messages, is none."""
    options = call.request.options
    token = options.get("$skiptoken") or options.get("$deltatoken")
    return None if not token or token.lower() == "latest" else token


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


def _recall(call: GraphCall, folder_id: str, token: str) -> DeltaState:
    try:
        return call.states.recall(folder_id, token)
    except GraphError as error:
        if error.status == 410 and call.settings.gone_with_location:
            error.headers["Location"] = f"{call.request.root}{call.request.path}?$deltatoken="
        raise


def _message_terms(call: GraphCall) -> Terms:
    request = call.request
    conditions = read_filter(request.options.get("$filter"))
    for each in conditions:
        if each.property != "receivedDateTime" or each.operator not in ("ge", "gt"):
            raise GraphError(
                400, "ErrorInvalidUrlQueryFilter", "Delta is filtered by receivedDateTime ge or gt."
            )
    order = request.options.get("$orderby", "")
    if order and order.split() != ["receivedDateTime", "desc"]:
        raise GraphError(400, "ErrorInvalidUrlQuery", "Delta is sorted by receivedDateTime desc.")
    if "$search" in request.options:
        raise GraphError(400, "ErrorInvalidUrlQuery", "Delta cannot be searched.")
    kind = request.options.get("changetype")
    if kind not in (None, _CREATED, _UPDATED, _DELETED):
        raise GraphError(400, "ErrorInvalidUrlQuery", f"changeType cannot be '{kind}'.")
    return Terms(
        message_select(request.names("$select"), headers=call.has_headers),
        conditions,
        bool(order),
        frozenset([kind] if kind else [_CREATED, _UPDATED, _DELETED]),
        request.number("$top", 1),
    )


def _first_round(call: GraphCall, folder: Folder, terms: Terms) -> tuple[int, list[Entry]]:
    """Everything that is in the folder."""
    store = call.mailbox.store
    upto, placed = store.snapshot(lambda: (store.latest_change, call.mailbox.messages(folder)))
    if terms.conditions:
        placed = [each for each in placed if all(one.holds(call.view(each)) for one in terms.conditions)]
    if terms.newest_first or terms.conditions:
        placed.sort(key=lambda each: each.message.received_at, reverse=True)
    else:
        call.random.shuffle(placed)
    entries = [Entry(_CREATED, each.message.immutable_id, each.message.mutable_id) for each in placed]
    if terms.conditions:
        entries = entries[:_FILTERED_MOST]
    removed = [each for each in folder.changes if each.kind is ChangeKind.REMOVED]
    if removed and not terms.conditions and call.chance(call.settings.repeats):
        entries.insert(0, Entry(_DELETED, removed[0].immutable_id, removed[0].mutable_id))
    return upto, _wanted(entries, terms)


def _next_round(call: GraphCall, folder: Folder, terms: Terms, since: int) -> tuple[int, list[Entry]]:
    """What happened in the folder after change ``since``, told once for each id."""
    store = call.mailbox.store
    upto, changes = store.snapshot(
        lambda: (store.latest_change, [each for each in folder.changes if each.number > since])
    )
    immutable = call.request.preferences.immutable_ids
    histories: dict[str, list[Change]] = {}
    for each in changes:
        histories.setdefault(each.immutable_id if immutable else each.mutable_id, []).append(each)
    entries = [_outcome(history, moves_shown=call.settings.moves_shown) for history in histories.values()]
    found = [each for each in entries if each]
    if call.chance(call.settings.repeats):
        found += [Entry(_UPDATED, *each) for each in _older(call, folder) if each[0] not in histories]
    return upto, _wanted(found, terms)


def _older(call: GraphCall, folder: Folder) -> list[tuple[str, str]]:
    """The ids of a message that did not change: an old change may be told again."""
    placed = call.mailbox.messages(folder)
    chosen = call.random.choice(placed).message if placed else None
    return [(chosen.immutable_id, chosen.mutable_id)] if chosen else []


def _outcome(history: list[Change], *, moves_shown: bool) -> Entry | None:
    """What the changes of one id come to."""
    first, last = history[0], history[-1]
    kinds = {each.kind for each in history}
    ids = (last.immutable_id, last.mutable_id)
    if last.kind is ChangeKind.REMOVED:
        return Entry(_DELETED, *ids)
    if first.kind is ChangeKind.REMOVED or (ChangeKind.REMOVED in kinds and first.kind in _CHANGES):
        # It left and came back under the same id: Exchange tells the removal and not the return.
        return Entry(_DELETED, *ids)
    if first.kind in (ChangeKind.CREATED, ChangeKind.MOVED_IN):
        shown = first.kind is ChangeKind.CREATED or moves_shown or len(history) > 1
        return Entry(_CREATED, *ids) if shown else None
    if kinds == {ChangeKind.MARKED}:
        return Entry(_UPDATED, *ids, frozenset[str]().union(*(each.flags for each in history)))
    return Entry(_UPDATED, *ids)


_CHANGES = (ChangeKind.UPDATED, ChangeKind.MARKED)


def _wanted(entries: list[Entry], terms: Terms) -> list[Entry]:
    return [each for each in entries if each.kind in terms.kinds][: terms.most]


def _shown(call: GraphCall, terms: Terms, entry: Entry) -> dict[str, Any] | None:
    """An entry as it is now; None for one that is no longer there or not asked for."""
    immutable = call.request.preferences.immutable_ids
    if entry.kind == _DELETED:
        named = entry.immutable_id if immutable else entry.mutable_id
        return {"@odata.type": _TYPE, "id": named, "@removed": {"reason": "deleted"}}
    try:
        view = call.view(call.mailbox.message(entry.immutable_id))
    except GraphError:
        return None
    if view.message.mutable_id != entry.mutable_id or not all(each.holds(view) for each in terms.conditions):
        return None
    if entry.flags is None:
        return {"@odata.type": _TYPE, **view.json(terms.select)}
    changed = [MARKS[flag] for flag in sorted(entry.flags) if flag in MARKS]
    selected = [name for name in changed if terms.select is None or name in terms.select]
    return {"@odata.type": _TYPE, **view.json(selected)}


def _page(
    call: GraphCall,
    folder_id: str,
    token: str | None,
    state: DeltaState,
    link: str,
    show: Callable[[Any], dict[str, Any] | None],
) -> dict[str, Any]:
    """The next page of a round, with the link to what follows."""
    size = call.request.preferences.page_size or _USUAL_PAGE
    if _rests(call, state):
        entries: Iterable[Any] = ()
        state = replace(state, rested=True)
    else:
        entries = state.pending[state.told : state.told + size]
        told = state.told + len(tuple(entries))
        if state.told and size > 1 and call.chance(call.settings.repeats):
            again = call.random.choice(state.pending[: state.told])
            entries = (again, *state.pending[state.told : state.told + size - 1])
            told = min(told, state.told + size - 1)
        state = replace(state, told=told, rested=False)
    value = [shown for entry in entries if (shown := show(entry)) is not None]
    name, parameter = ("deltaLink", "$deltatoken") if state.ended else ("nextLink", "$skiptoken")
    if state.ended:
        state = replace(state, pending=(), told=0)
    kept = call.states.keep(folder_id, token, state, call.settings.generations)
    kind = "message" if folder_id != call.mailbox.root.folder_id else "mailFolder"
    return {
        "@odata.context": f"{call.request.root}/$metadata#Collection({kind})",
        f"@odata.{name}": f"{link}?{parameter}={kept}",
        "value": value,
    }


def _rests(call: GraphCall, state: DeltaState) -> bool:
    """Whether this page is an empty one, though it is not the last."""
    if state.ended:
        return False
    if call.fault and call.fault.kind is FaultKind.EMPTY:
        return True
    return not state.rested and call.chance(call.settings.empty_pages)
