"""``translateExchangeIds``: ids from one format into another.

Source: Microsoft, "user: translateExchangeIds", "Item identifiers in Exchange" for the alphabets.
"""

import json
from typing import Any

from pipelines.sandbox.graph_call import GraphCall
from pipelines.sandbox.graph_errors import TEXTS, GraphError, bad_request
from pipelines.sandbox.store import Message

_MOST = 1000
_MALFORMED = "ErrorInvalidIdMalformed"
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
    if not isinstance(ids, list) or source not in _FORMATS or target not in _FORMATS:
        raise bad_request(f"inputIds is a list; formats are {', '.join(_FORMATS)}.")
    if len(ids) > _MOST:
        raise GraphError(400, "ErrorInvalidRequest", f"At most {_MOST} ids can be translated at once.")
    return {
        "@odata.context": f"{call.request.root}/$metadata#Collection(microsoft.graph.convertIdResult)",
        "value": [_translated(call, str(each), source, target) for each in ids],
    }


def _translated(call: GraphCall, given: str, source: str, target: str) -> dict[str, Any]:
    rest_id = given if source.startswith("rest") else given.translate(_FROM_EWS)
    try:
        message = call.mailbox.message(rest_id).message
        if rest_id != _id(message, source):
            raise GraphError(400, _MALFORMED)
    except GraphError:
        return {"sourceId": given, "errorDetails": {"code": _MALFORMED, "message": TEXTS[_MALFORMED]}}
    found = _id(message, target)
    return {"sourceId": given, "targetId": found if target.startswith("rest") else found.translate(_TO_EWS)}


def _id(message: Message, kind: str) -> str:
    return message.immutable_id if "immutable" in kind.lower() else message.mutable_id
