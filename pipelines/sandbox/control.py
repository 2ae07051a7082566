"""Telling the tenant what to do: an HTTPS API beside its doors, and the client for it.

Described operation by operation in docs/sandbox.md.
"""

import dataclasses
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import compare_digest
from typing import Any

import requests
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.sandbox.entra import Entra
from pipelines.sandbox.faults import Door, Fault, FaultKind, Faults, RetryAfter
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.store import Folder, Message, Store, StoreError

TOKEN_FILE = "control-token"  # noqa: S105 - the name of the file
_OPERATIONS = (
    "create_folder", "rename_folder", "delete_folder", "move", "copy", "delete", "reset_uidvalidity",
)  # fmt: skip


class Control:
    """The API's server side."""

    def __init__(self, store: Store, faults: Faults, entra: Entra, graph: GraphSettings, token: str) -> None:
        self._store, self._faults, self._entra, self._token = store, faults, entra, token
        self._do: dict[str, Callable[..., Any]] = {name: getattr(store, name) for name in _OPERATIONS}
        self._do |= {
            "deliver": self._deliver,
            "edit": self._edit,
            "hide": self._hide,
            "set_flags": self._set_flags,
            "add_fault": self._add_fault,
            "clear_faults": faults.clear,
            "tokens": self._tokens,
            "attempts": lambda: [dataclasses.asdict(each) for each in store.attempts],
            "asked": faults.asked,
            "grant": self._grant,
            "graph": graph.change,
            "mailboxes": self._mailboxes,
            "messages": self._messages,
            "read": self._read,
        }

    def routes(self) -> list[Route]:
        """``POST /control/<operation>`` with a JSON object of arguments."""
        return [Route("/control/{operation}", self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        shown = request.headers.get("authorization", "").encode()
        if not compare_digest(shown, f"Bearer {self._token}".encode()):
            return JSONResponse({"error": f"send the token of {TOKEN_FILE}"}, 401)
        operation = self._do.get(request.path_params["operation"])
        if operation is None:
            return JSONResponse({"error": f"operations are {', '.join(sorted(self._do))}"}, 404)
        try:
            result = await run_in_threadpool(operation, **await request.json())
        except (StoreError, TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        if isinstance(result, Message):
            result = _shown(result)
        elif isinstance(result, Folder):
            result = _folder_shown(result)
        return JSONResponse(result)

    def _deliver(
        self, address: str, path: str, mime: str, received_at: str | None = None, flags: tuple[str, ...] = ()
    ) -> Message:
        moment = datetime.fromisoformat(received_at) if received_at else None
        if moment and moment.tzinfo is None:
            raise ValueError("received_at needs a time zone, such as +00:00")
        return self._store.deliver(address, path, b64decode(mime, validate=True), moment, frozenset(flags))

    def _edit(self, address: str, path: str, uid: int, mime: str) -> Message:
        return self._store.edit(address, path, uid, b64decode(mime, validate=True))

    def _hide(self, address: str, path: str, uid: int, door: str, hidden: bool = True) -> Message:
        return self._store.hide(address, path, uid, Door(door), hidden=hidden)

    def _set_flags(self, address: str, path: str, uid: int, flags: list[str]) -> None:
        self._store.set_flags(address, path, uid, frozenset(flags))

    def _add_fault(self, kind: str, door: str, **rest: Any) -> None:
        if rest.get("retry_after") is not None:
            rest["retry_after"] = RetryAfter(rest["retry_after"])
        self._faults.add(Fault(FaultKind(kind), Door(door), **rest))

    def _tokens(
        self, lifetime: float | None = None, roles: dict[str, list[str]] | None = None
    ) -> dict[str, int]:
        if lifetime is not None:
            self._entra.lifetime = lifetime
        if roles is not None:
            self._entra.roles |= roles
        return {"issued": self._entra.issued}

    def _grant(self, address: str, granted: bool) -> None:
        self._store.mailbox(address).granted = granted

    def _mailboxes(self) -> list[dict[str, Any]]:
        return self._store.snapshot(
            lambda: [
                {
                    "address": mailbox.address,
                    "granted": mailbox.granted,
                    "folders": [_folder_shown(folder) for folder in mailbox.folders.values()],
                }
                for mailbox in self._store.mailboxes()
            ]
        )

    def _messages(self) -> list[dict[str, Any]]:
        return [
            {"mailbox": mailbox.address, "folder": folder.path, **_shown(message)}
            for mailbox, folder, message in self._store.everything()
            if folder.shows_mail
        ]

    def _read(self, address: str, path: str, uid: int) -> str:
        return b64encode(self._store.read(self._store.message(address, path, uid))).decode()


def _folder_shown(folder: Folder) -> dict[str, Any]:
    return {
        "path": folder.path,
        "role": folder.role,
        "item_class": folder.item_class,
        "hidden": folder.hidden,
        "search": folder.search,
        "uidvalidity": folder.uidvalidity,
        "messages": len(folder.messages),
    }


def _shown(message: Message) -> dict[str, Any]:
    return {
        "uid": message.uid,
        "immutable_id": message.immutable_id,
        "sha256": message.sha256,
        "size": message.size,
        "received_at": message.received_at.isoformat(),
        "flags": sorted(message.flags),
        "hidden_from": sorted(message.hidden_from),
    }


class SandboxControl:
    """The API's client side, for tests and demos."""

    def __init__(self, directory: Path, url: str) -> None:
        """``directory`` is the sandbox's own; ``url`` is where its HTTPS side listens."""
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(directory / "ca.pem")
        self._session.headers["Authorization"] = f"Bearer {(directory / TOKEN_FILE).read_text()}"

    def do(self, operation: str, **arguments: Any) -> Any:
        """Run an operation. Raises ``StoreError`` where the tenant refuses it."""
        answer = self._session.post(f"{self._url}/control/{operation}", json=arguments, timeout=60)
        if answer.status_code != 200:
            raise StoreError(answer.json()["error"])
        return answer.json()

    def deliver(self, address: str, path: str, mime: bytes, **more: Any) -> dict[str, Any]:
        """A message comes in."""
        delivered: dict[str, Any] = self.do(
            "deliver", address=address, path=path, mime=b64encode(mime).decode(), **more
        )
        return delivered

    def messages(self) -> list[dict[str, Any]]:
        """Every message of every mail folder: what an ingestion has to find."""
        found: list[dict[str, Any]] = self.do("messages")
        return found

    def read(self, address: str, path: str, uid: int) -> bytes:
        """A message's bytes."""
        return b64decode(self.do("read", address=address, path=path, uid=uid))

    def close(self) -> None:
        """Give back the connection."""
        self._session.close()


def write_token(directory: Path, token: str) -> None:
    """Leave the API's token where only the sandbox's owner can read it."""
    with os.fdopen(
        os.open(directory / TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
    ) as file:
        file.write(token)
