"""A small tenant with only its Graph door open, a client for it, and the mailbox of one test."""

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
from starlette.applications import Starlette

from pipelines.sandbox.entra import GRAPH, Entra
from pipelines.sandbox.faults import Door, Fault, FaultKind, Faults
from pipelines.sandbox.graph_door import GraphDoor
from pipelines.sandbox.identity import Identity
from pipelines.sandbox.server import serve_https
from pipelines.sandbox.store import Message, Store

IMMUTABLE = 'IdType="ImmutableId"'
WHEN = datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC)


def mail(number: int = 1, subject: str = "Budget", body: str = "Hello\r\n", more: str = "") -> bytes:
    """A message that crossed transport."""
    return (
        "Received: from mail.fabrikam.example by contoso.com; Mon, 2 Mar 2026 10:20:30 +0000\r\n"
        f"Message-ID: <{number}@fabrikam.example>\r\nFrom: Lee Gu <lee@fabrikam.example>\r\n"
        f"To: kim.akers@contoso.com\r\nSubject: {subject}\r\nDate: Mon, 2 Mar 2026 11:20:00 +0100\r\n"
        f"{more}\r\n{body}"
    ).encode()


@dataclass
class World:
    """The door, what is behind it, and a connection to it."""

    store: Store
    faults: Faults
    entra: Entra
    door: GraphDoor
    identity: Identity
    root: str
    client: httpx.Client

    def token(
        self, audience: str = GRAPH, roles: tuple[str, ...] = ("Mail.Read",), seconds: float = 600
    ) -> str:
        now = int(time.time())
        claims = {"aud": audience, "roles": list(roles), "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self.identity.signing_key, algorithm="RS256")

    def batch(self, *requests: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self.client.post(f"{self.root}/$batch", json={"requests": list(requests)}, headers=headers)


@dataclass
class Box:
    """A mailbox with an Inbox, Sent Items, Drafts and an Archive, all empty."""

    world: World
    address: str
    prefer: list[str] = field(default_factory=lambda: [IMMUTABLE])

    @property
    def url(self) -> str:
        return f"{self.world.root}/users/{self.address}"

    def request(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """``path`` below the mailbox, or a whole link."""
        headers = {"Authorization": f"Bearer {token or self.world.token()}"}
        if self.prefer:
            headers["Prefer"] = ", ".join(self.prefer)
        url = path if path.startswith("https://") else f"{self.url}/{path}".rstrip("/")
        return self.world.client.request(method, url, headers=headers | more.pop("headers", {}), **more)

    def stream(self, path: str) -> AbstractContextManager[httpx.Response]:
        """A request whose answer is read, uncompressed, as it comes."""
        headers = {"Authorization": f"Bearer {self.world.token()}", "Accept-Encoding": "identity"}
        return self.world.client.stream("GET", f"{self.url}/{path}", headers=headers)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def json(self, path: str, **more: Any) -> dict[str, Any]:
        answer = self.get(path, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = json.loads(answer.text, strict=False)
        return found

    def deliver(self, mime: bytes | None = None, folder: str = "Inbox", *flags: str) -> Message:
        return self.world.store.deliver(self.address, folder, mime or mail(), WHEN, frozenset(flags))

    def fill(self, count: int, folder: str = "Inbox") -> list[Message]:
        """Messages a minute apart, the oldest first."""
        store = self.world.store
        return [
            store.deliver(self.address, folder, mail(number), WHEN + timedelta(minutes=number))
            for number in range(count)
        ]

    def fault(self, kind: FaultKind, **more: Any) -> None:
        self.world.faults.add(Fault(kind, Door.GRAPH, **more))

    def pages(self, link: str) -> list[dict[str, Any]]:
        """Every page from ``link`` to the last."""
        found = [self.json(link)]
        while "@odata.nextLink" in found[-1]:
            found.append(self.json(found[-1]["@odata.nextLink"]))
        return found

    def round(self, link: str) -> tuple[list[dict[str, Any]], str]:
        """Every entry of a round of delta, and the link to the next round."""
        pages = self.pages(link)
        return [entry for page in pages for entry in page["value"]], pages[-1]["@odata.deltaLink"]


def message_path(message: Message, rest: str = "") -> str:
    return f"messages/{quote(message.immutable_id, safe='')}{rest}"


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and error code."""
    return answer.status_code, answer.json()["error"]["code"]


@contextmanager
def open_graph(identity: Identity, directory: Path) -> Iterator[World]:
    """Start and stop the door over a store without mailboxes."""
    store, faults = Store(directory / "store"), Faults()
    entra = Entra(identity, faults)
    door = GraphDoor(store, entra, faults)
    application = Starlette(routes=door.routes())
    with serve_https(application, identity) as port:
        verified = ssl.create_default_context(cafile=str(identity.ca_file))
        with httpx.Client(verify=verified, trust_env=False, timeout=30) as client:
            yield World(store, faults, entra, door, identity, f"https://localhost:{port}/v1.0", client)
    store.close()
