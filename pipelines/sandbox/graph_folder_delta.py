"""Rounds of delta over a mailbox's folders, nested ones included.

Source: Microsoft, "mailFolder: delta". Unlike messages, folders have no log: each round is
compared with what the one before it told.
"""

from dataclasses import dataclass
from typing import Any

from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_folders import folder_json, folder_select
from pipelines.sandbox.graph_rounds import given_token, next_page, recall
from pipelines.sandbox.graph_states import DeltaState


@dataclass(frozen=True, slots=True)
class _Terms:
    select: tuple[str, ...] | None
    hidden: bool


def folder_delta(call: GraphCall) -> dict[str, Any]:
    """A page of the changes in the mailbox's folders."""
    key, token = call.mailbox.root.folder_id, given_token(call)
    if token is None:
        request = call.request
        terms = _Terms(folder_select(request.names("$select")), request.flag("includehiddenfolders"))
        state = _round(call, terms, {})
    else:
        state = recall(call, key, token)
        if state.ended:
            state = _round(call, state.terms, state.upto)
    return next_page(call, key, state, "mailFolders", lambda entry: entry)


def _round(call: GraphCall, terms: _Terms, before: dict[str, Any]) -> DeltaState:
    folders = call.mailbox.folders(hidden=terms.hidden)
    now = {each.folder_id: folder_json(call.mailbox, each, terms.select) for each in folders}
    changed = [shown for folder_id, shown in now.items() if before.get(folder_id) != shown]
    gone = [{"id": each, "@removed": {"reason": "deleted"}} for each in before if each not in now]
    return DeltaState(terms, now, (*changed, *gone))
