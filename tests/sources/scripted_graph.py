"""Graph's mail API as far as a reader needs it, that says what a test tells it to; over TLS on 127.0.0.1."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from pipelines.mime import normalise
from tests.https_server import Handler, serving_https

ADDRESS = "kim.akers@contoso.com"
INBOX_ID = "AAMkInbox=="
Item = dict[str, Any]


@dataclass
class Reply:
    """One answer over HTTP."""

    status: int = 200
    body: Any = None
    """Bytes as they are, anything else as JSON; None for an empty body."""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """The connection ends after so many bytes of the body."""
    ends: int | None = None
    """The body ends after so many bytes, as if that were all."""

    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def error(status: int, code: str, inner: str | None = None, **headers: str) -> Reply:
    """An error as Graph words it."""
    ids = {"date": "2026-08-20T09:31:07", "request-id": "0f6f4a53-2f0f-4d0b-9d0e-5c9e4fd3b6a1"}
    told = {
        "code": code,
        "message": "confidential words",
        "innerError": ids | ({"code": inner} if inner else {}),
    }
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": told}, {"request-id": ids["request-id"], **shown})


def folder(native: str, name: str, *, children: int = 0, hidden: bool = False, search: bool = False) -> Item:
    """A mailFolder."""
    told: Item = {"id": native, "displayName": name, "childFolderCount": children, "isHidden": hidden}
    return {"@odata.type": "#microsoft.graph.mailSearchFolder", **told} if search else told


def message(native: str, mime: bytes, **more: Any) -> Item:
    """A message as a listing shows it; its MIME is under ``mime``, which no listing shows."""
    record = normalise(mime)
    people = [{"emailAddress": {"name": each.name, "address": each.address}} for each in record.from_]
    return {
        "id": native,
        "internetMessageId": f"<{record.message_id}>" if record.message_id else None,
        "subject": record.subject or None,
        "from": people[0] if people else None,
        "sender": people[0] if people else None,
        "toRecipients": [{"emailAddress": {"name": "Kim", "address": ADDRESS}}],
        "sentDateTime": record.sent_at.strftime("%Y-%m-%dT%H:%M:%SZ") if record.sent_at else None,
        "receivedDateTime": "2026-08-19T08:15:09Z",
        "lastModifiedDateTime": "2026-08-19T08:15:10Z",
        "isDraft": False,
        "isRead": False,
        "flag": {"flagStatus": "notFlagged"},
        "hasAttachments": False,
        "bodyPreview": (record.text or "")[:255],
        "mime": mime,
        **more,
    }


def mail(number: int, text: str = "confidential") -> bytes:
    """A small mail."""
    return (
        f"From: Megan <megan@contoso.com>\r\nSubject: mail {number}\r\nMessage-ID: <{number}@contoso.com>\r\n"
        f"Date: Wed, 19 Aug 2026 08:15:02 +0000\r\nContent-Type: text/plain\r\n\r\n{text} {number}\r\n"
    ).encode()


@dataclass
class Asked:
    """A request that came."""

    method: str
    url: str
    """Below the mailbox, decoded."""
    headers: dict[str, str]
    raw: str = ""
    """As it was sent."""


@dataclass
class _Rule:
    request: re.Pattern[str]
    replies: list[Reply]


@dataclass
class ScriptedGraph:
    """A mailbox that answers like a good server, but for the rules a test adds."""

    well_known: dict[str, str] = field(default_factory=lambda: {"inbox": INBOX_ID})
    children: dict[str, list[Item]] = field(default_factory=lambda: {"": [folder(INBOX_ID, "Posteingang")]})
    """Folders by the id of the one they are in."""
    messages: dict[str, dict[str, Item]] = field(default_factory=lambda: {INBOX_ID: {}})
    """By folder and id."""
    changed: dict[str, list[Item]] = field(default_factory=dict)
    """What delta tells after the first round, by folder."""
    attachments: dict[str, list[Item]] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds that each answer takes."""
    page: int = 3
    """Messages of a page, whatever is preferred."""
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    rules: list[_Rule] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def root(self) -> str:
        return f"https://localhost:{self.port}/v1.0"

    def answer(self, request: str, *replies: Reply, times: int = 1) -> None:
        """From now on answer so to requests that match ``METHOD /path?query``, each reply ``times`` times."""
        self.rules.append(_Rule(re.compile(request), [each for each in replies for _ in range(times)]))

    def add(self, *mimes: bytes, into: str = INBOX_ID, **more: Any) -> list[str]:
        """More messages; their ids."""
        held = self.messages.setdefault(into, {})
        ids = [f"AAkA{len(held) + number:04}=" for number in range(1, len(mimes) + 1)]
        held |= {native: message(native, mime, **more) for native, mime in zip(ids, mimes, strict=True)}
        return ids

    def urls(self, request: str = "") -> list[str]:
        """What was asked and matches, below the mailbox, decoded."""
        return [each.url for each in self.asked if re.search(request, f"{each.method} {each.url}")]

    def take(self, asked: Asked, body: bytes) -> Reply:
        """The answer to a request that came."""
        with self._lock:
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            reply = self._scripted(f"{asked.method} {asked.url}")
        time.sleep(self.pause)
        if reply is None and asked.method == "POST":
            return self._batch(body)
        return reply or self._usual(asked.method, asked.url)

    def done(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _scripted(self, request: str) -> Reply | None:
        for rule in self.rules:
            if rule.replies and rule.request.search(request):
                return rule.replies.pop(0)
        return None

    def _batch(self, body: bytes) -> Reply:
        """Each part as if it had come alone."""
        responses = []
        for part in json.loads(body)["requests"]:
            assert "ImmutableId" in part["headers"]["Prefer"]
            url = _below_mailbox(part["url"])
            reply = self._scripted(f"{part['method']} {url}") or self._usual(part["method"], url)
            told = json.loads(reply.content() or b"null")
            responses.append(
                {"id": part["id"], "status": reply.status, "headers": reply.headers, "body": told}
            )
        return Reply(body={"responses": list(reversed(responses))})

    def _usual(self, method: str, url: str) -> Reply:
        path, _, query_text = url.partition("?")
        query = {name: values[0] for name, values in parse_qs(query_text).items()}
        match [method, *path.strip("/").split("/")]:
            case ["GET", "mailFolders"]:
                return self._listed(url, self.children[""], query)
            case ["GET", "mailFolders", native, "childFolders"]:
                return self._listed(url, self.children.get(native, []), query)
            case ["GET", "mailFolders", name]:
                native = self.well_known.get(name, "")
                return Reply(body={"id": native}) if native else error(404, "ErrorItemNotFound")
            case ["GET", "mailFolders", native, "messages", *rest]:
                return self._in_folder(url, native, "/".join(rest), query)
            case ["GET", "messages", native, *rest]:
                return self._one(native, "/".join(rest), query)
        return error(400, "BadRequest")

    def _in_folder(self, url: str, native: str, what: str, query: dict[str, str]) -> Reply:
        held = self.messages.get(native)
        if held is None:
            return error(404, "ErrorItemNotFound")
        if what == "$count":
            return Reply(body=f"\ufeff{len(held)}".encode(), headers={"Content-Type": "text/plain"})
        if what == "delta()":
            told = query.get("$deltatoken")
            items = [*held.values()] if told is None else self.changed.get(native, [])[int(told) :]
            end = f"{self._link(native)}?$deltatoken={len(self.changed.get(native, []))}"
            return self._listed(url, items, query, end)
        return self._listed(url, _filtered(held.values(), query), query)

    def _link(self, native: str) -> str:
        return f"{self.root}/users/{ADDRESS}/mailFolders('{native}')/messages/delta"

    def _listed(self, url: str, items: list[Item], query: dict[str, str], end: str | None = None) -> Reply:
        start = int(query.get("$skiptoken", 0))
        shown = items[start : start + self.page]
        told: Item = {"value": [_shown(each, query.get("$select")) for each in shown]}
        if query.get("$count") == "true":
            told["@odata.count"] = len(items)
        if start + self.page < len(items):
            rest = re.sub(r"[?&]\$skiptoken=\d+", "", url)
            mark = "&" if "?" in rest else "?"
            told["@odata.nextLink"] = f"{self.root}/users/{ADDRESS}{rest}{mark}$skiptoken={start + self.page}"
        elif end:
            told["@odata.deltaLink"] = end
        return Reply(body=told)

    def _one(self, native: str, what: str, query: dict[str, str]) -> Reply:
        found = next((held[native] for held in self.messages.values() if native in held), None)
        if found is None:
            return error(404, "ErrorItemNotFound")
        if what == "$value":
            return Reply(body=found["mime"], headers={"Content-Type": "text/plain"})
        if what == "attachments":
            return Reply(body={"value": self.attachments.get(native, [])})
        if what:
            return error(404, "ErrorItemNotFound")
        return Reply(body=_shown(found, query.get("$select")))


def _below_mailbox(url: str) -> str:
    """Decoded, and in links as in what the SDK makes."""
    below = unquote(url).removeprefix(f"/users/{ADDRESS}")
    return re.sub(r"/mailFolders\('([^']*)'\)/messages/delta", r"/mailFolders/\1/messages/delta()", below)


def _shown(item: Item, select: str | None) -> Item:
    told = {name: value for name, value in item.items() if name != "mime"}
    if select is None or "childFolderCount" in item:
        return told
    return {name: value for name, value in told.items() if name in {*select.split(","), "id"} or "@" in name}


def _filtered(items: Any, query: dict[str, str]) -> list[Item]:
    bounds = re.findall(r"receivedDateTime (ge|lt) (\S+)", query.get("$filter", ""))
    found = [
        each for each in items if all((each["receivedDateTime"] >= at) == (how == "ge") for how, at in bounds)
    ]
    if order := query.get("$orderby"):
        found.sort(key=lambda each: each["receivedDateTime"], reverse=order.endswith("desc"))
    return found


@contextmanager
def serving(graph: ScriptedGraph, certificate: Path) -> Iterator[ScriptedGraph]:
    """``graph`` behind TLS on a free port."""

    class Service(Handler):
        def do_GET(self) -> None:  # noqa: N802
            self._answer(b"")

        def do_POST(self) -> None:  # noqa: N802
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            url = _below_mailbox(self.path.removeprefix("/v1.0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                self._send(graph.take(Asked(self.command, url, headers, self.path), body))
            finally:
                graph.done()

        def _send(self, reply: Reply) -> None:
            content = reply.content()[: reply.ends][: reply.cut]
            self.send_response(reply.status)
            usual = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            for name, value in (usual | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if content:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            if reply.cut is None:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True

    with serving_https(Service, certificate) as graph.port:
        yield graph
