"""The server of ``benchmarks.graph``: a delta and messages made beforehand, over HTTPS as fast as Python can.

python -m benchmarks.static_graph CERTIFICATE small|business COUNT
"""

import asyncio
import json
import ssl
import sys

from benchmarks.mime import business_mail, small_mail
from pipelines.mime import normalise

PAGE = 500
ADDRESS = "kim.akers@contoso.com"
MAILS = {"small": small_mail, "business": business_mail}


def listed(number: int, mime: bytes) -> dict[str, object]:
    """A message as delta shows it."""
    record = normalise(mime)
    people = [{"emailAddress": {"name": each.name, "address": each.address}} for each in record.from_]
    to = [{"emailAddress": {"name": each.name, "address": each.address}} for each in record.to]
    return {
        "@odata.type": "#microsoft.graph.message",
        "@odata.etag": f'W/"MCOMUARoaP/m94FkglXZTPvGOnkS0l60yq4P{number:05}"',
        "id": f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0AuYI22Mr9ODsXvsscXs_bIxYq17dFV{number:06}",
        "internetMessageId": f"<{record.message_id}>",
        "subject": record.subject,
        "from": people[0] if people else None,
        "sender": people[0] if people else None,
        "toRecipients": to,
        "sentDateTime": "2026-08-19T08:15:02Z",
        "receivedDateTime": "2026-08-19T08:15:09Z",
        "lastModifiedDateTime": "2026-08-19T08:15:10Z",
        "isDraft": False,
        "isRead": True,
        "flag": {"flagStatus": "notFlagged"},
        "hasAttachments": bool(record.attachments),
        "bodyPreview": (record.text or "")[:255],
    }


def answers(root: str, mails: list[bytes]) -> dict[bytes, bytes]:
    """Whole HTTP answers by the end of the URL: a page's number, or a message's."""
    items = [listed(number, mime) for number, mime in enumerate(mails)]
    told = {b"%d" % number: _answer(b"text/plain", mime) for number, mime in enumerate(mails)}
    for start in range(0, len(items), PAGE):
        page: dict[str, object] = {"value": items[start : start + PAGE]}
        link = f"{root}/users/{ADDRESS}/mailFolders('inbox')/messages/delta?$"
        last = start + PAGE >= len(items)
        page["@odata.deltaLink" if last else "@odata.nextLink"] = (
            f"{link}deltatoken=1" if last else f"{link}skiptoken=page{start + PAGE}"
        )
        told[b"page%d" % start] = _answer(b"application/json", json.dumps(page).encode())
    return told


def _answer(media_type: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % media_type
    return b"%s%x\r\n%s\r\n0\r\n\r\n" % (head, len(body), body)


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, told: dict[bytes, bytes]) -> None:
        self._told, self._left = told, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._left += data
        while b"\r\n\r\n" in self._left:
            head, _, self._left = self._left.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path.endswith(b"/$value"):
                key = path.split(b"/")[-2]
            else:
                key = path.rpartition(b"skiptoken=")[2] if b"skiptoken=" in path else b"page0"
            self._transport.write(self._told[key])


async def serve(certificate: str, kind: str, count: int) -> None:
    """Print the root's URL, then answer until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    told: dict[bytes, bytes] = {}
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(told), "127.0.0.1", 0, ssl=context
    )
    root = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1.0"
    told |= answers(root, [MAILS[kind](number) for number in range(count)])
    print(root, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
