"""``translateExchangeIds``: ids from one format into another.

Source: Microsoft, "user: translateExchangeIds", "Item identifiers in Exchange" for the alphabets.
"""

import json
from typing import Any

from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import TEXTS, GraphError, bad_request

_MOST = 1000
_FORMATS = ("entryId", "ewsId", "immutableEntryId", "restId", "restImmutableEntryId")
_TO_EWS = str.maketrans("-_", "/+")
_FROM_EWS = str.maketrans("/+", "-_")


def translate_ids(call: GraphCall) -> dict[str, Any]:
    """Every id of the body; what cannot be translated says why in its own place."""
    try:
        body = json.loads(call.request.body)
        ids, source, target = body["inputIds"], body["sourceIdType"], body["targetIdType"]
    except (ValueError, KeyError, TypeError):
        raise bad_request("The request needs inputIds, sourceIdType and targetIdType.") from None
    if not isinstance(ids, list) or not {source, target} <= set(_FORMATS):
        raise bad_request(f"inputIds is a list; formats are {', '.join(_FORMATS)}.")
    if len(ids) > _MOST:
        raise GraphError(400, "ErrorInvalidRequest", f"At most {_MOST} ids can be translated at once.")
    return {
        "@odata.context": f"{call.request.root}/$metadata#Collection(microsoft.graph.convertIdResult)",
        "value": [_translated(call, str(each), source, target) for each in ids],
    }


def _translated(call: GraphCall, given: str, source: str, target: str) -> dict[str, Any]:
    try:
        message = call.mailbox.message(_as_rest(given, source)).message
    except GraphError:
        code = "ErrorInvalidIdMalformed"
        return {"sourceId": given, "errorDetails": {"code": code, "message": TEXTS[code]}}
    immutable = target in ("restImmutableEntryId", "immutableEntryId")
    found = message.immutable_id if immutable else message.mutable_id
    return {"sourceId": given, "targetId": _from_rest(found, target)}


def _as_rest(given: str, source: str) -> str:
    return given if source.startswith("rest") else given.translate(_FROM_EWS)


def _from_rest(found: str, target: str) -> str:
    return found if target.startswith("rest") else found.translate(_TO_EWS)
