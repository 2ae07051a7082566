"""Properties of Exchange that Graph shows under their MAPI names.

Source: Microsoft, "Outlook extended properties overview", MS-OXPROPS.
"""

import re

from pipelines.mime.words import raw_text
from pipelines.sandbox.graph_messages import MessageView, internet_headers

_EXTENDED = re.compile(r"id\s+eq\s+'(\w+)\s+0x([0-9a-fA-F]+)'")

_CLASSES = {
    "meetingRequest": "IPM.Schedule.Meeting.Request",
    "meetingCancelled": "IPM.Schedule.Meeting.Canceled",
    "meetingAccepted": "IPM.Schedule.Meeting.Resp.Pos",
    "meetingTenativelyAccepted": "IPM.Schedule.Meeting.Resp.Tent",
    "meetingDeclined": "IPM.Schedule.Meeting.Resp.Neg",
}


def extended_properties(view: MessageView, expand: str) -> list[dict[str, str]]:
    """``singleValueExtendedProperties`` that ``$expand`` filters for; others are not there."""
    found = []
    for kind, tag in _EXTENDED.findall(expand):
        value = _extended(view, int(tag, 16))
        if value is not None:
            found.append({"id": f"{kind.title()} 0x{int(tag, 16):x}", "value": value})
    return found


def _extended(view: MessageView, tag: int) -> str | None:
    if tag == 0x0E08:  # PidTagMessageSize: of the store, not of the MIME
        return str(view.message.size + view.message.size // 20 + 4096)
    if tag == 0x0E07:  # PidTagMessageFlags
        marks = (("seen" in view.message.flags, 0x1), (view.is_draft(), 0x8), (view.has_attachments, 0x10))
        return str(sum(bit for is_set, bit in marks if is_set))
    if tag == 0x007D:  # PidTagTransportMessageHeaders
        return raw_text(view.header, set()) if internet_headers(view.header) else None
    if tag == 0x001A:  # PidTagMessageClass
        return _CLASSES[view.meeting[1]] if view.meeting else "IPM.Note"
    return None
