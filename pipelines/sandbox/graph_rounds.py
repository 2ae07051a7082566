"""Paging through a round of delta: links, empty pages, repeated entries.

An empty page with a nextLink is not the end, and an entry may come several times in a round.
Source: Microsoft, "Use delta query to track changes in Microsoft Graph data".
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from pipelines.sandbox.faults import FaultKind
from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import GraphError
from pipelines.sandbox.graph_states import DeltaState

USUAL_PAGE = 10
Entry = TypeVar("Entry")


def given_token(call: GraphCall) -> str | None:
    """The token of a link; None at the start, also for ``latest``, which Exchange does not know."""
    options = call.request.options
    token = options.get("$skiptoken") or options.get("$deltatoken")
    return None if not token or token.lower() == "latest" else token


def recall(call: GraphCall, key: str, token: str) -> DeltaState:
    """The state behind a link. Raises ``GraphError`` 410 once it is forgotten."""
    try:
        if call.fault and call.fault.kind is FaultKind.FORGET:
            raise GraphError(410, "SyncStateNotFound")
        return call.states.recall(key, token)
    except GraphError as error:
        if error.status == 410 and call.settings.gone_with_location:
            error.headers["Location"] = f"{call.request.root}{call.request.path}?$deltatoken="
        raise


def next_page(
    call: GraphCall, key: str, state: DeltaState, path: str, show: Callable[[Any], dict[str, Any] | None]
) -> dict[str, Any]:
    """The next page of a round and the link to what follows; ``show`` gives None for what is no more."""
    state, entries = _step(call, state)
    value = [shown for entry in entries if (shown := show(entry)) is not None]
    name, parameter = ("deltaLink", "$deltatoken") if state.ended else ("nextLink", "$skiptoken")
    if state.ended:
        state = replace(state, pending=(), told=0)
    token = call.states.keep(key, given_token(call), state, call.settings.generations)
    kind = "message" if path.endswith("messages") else "mailFolder"
    return {
        "@odata.context": f"{call.request.root}/$metadata#Collection({kind})",
        f"@odata.{name}": f"{call.user_url}/{path}/delta?{parameter}={token}",
        "value": value,
    }


def _step(call: GraphCall, state: DeltaState) -> tuple[DeltaState, tuple[Any, ...]]:
    """What a page tells, and how far the round is after it."""
    if _rests(call, state):
        return replace(state, rested=True), ()
    size = call.request.preferences.page_size or USUAL_PAGE
    again: tuple[Any, ...] = ()
    if state.told and size > 1 and call.chance(call.settings.repeats):
        again = (call.random.choice(state.pending[: state.told]),)
    entries = state.pending[state.told : state.told + size - len(again)]
    return replace(state, told=state.told + len(entries), rested=False), again + entries


def _rests(call: GraphCall, state: DeltaState) -> bool:
    """Whether the page is an empty one, though it is not the last."""
    if state.ended:
        return False
    if call.fault and call.fault.kind is FaultKind.EMPTY:
        return True
    return not state.rested and call.chance(call.settings.empty_pages)
