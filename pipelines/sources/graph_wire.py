"""Requests to Graph through msgraph-sdk's adapter, and their answers as they come.

The adapter sends and the answer is read natively: no page goes through the SDK's models (they cost
8 ms a message, and fail on raw control characters). Handing single requests and answers from thread
to thread costs as much as a small request, so both travel in lots.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import httpx
from kiota_abstractions.authentication.anonymous_authentication_provider import (
    AnonymousAuthenticationProvider,
)
from kiota_abstractions.method import Method
from kiota_abstractions.native_response_handler import NativeResponseHandler
from kiota_abstractions.request_information import RequestInformation
from kiota_http.middleware.options import ResponseHandlerOption
from kiota_http.observability_options import ObservabilityOptions
from msgraph import GraphRequestAdapter, GraphServiceClient

from pipelines.sources.graph_faults import Fault
from pipelines.sources.graph_limits import AT_ONCE
from pipelines.sources.graph_loop import enter, leave
from pipelines.sources.graph_requests import MIME, PREFER, Answer, Request, size_of
from pipelines.sources.graph_transport import fault_of_error

_LOT = 8
_HELD_BYTES = 8 * 1024 * 1024
"""Answers of so many bytes that nobody took stop further requests from starting."""
_NATIVE = ResponseHandlerOption(NativeResponseHandler())

Came = Answer | Fault | Exception
"""What came of a request; an exception is a fault of this program."""


class Wire:
    """One mailbox's way to the Graph below ``root``."""

    def __init__(self, root: str, ca_file: Path | None, mailbox: str) -> None:
        """Nothing is sent. Raises ``ConfigurationError`` where ``ca_file`` cannot be read."""
        self._root, self._mailbox = root, mailbox
        self._shared = enter()
        try:
            client = self._shared.client(ca_file)
        except BaseException:
            self.close()
            raise
        self._places = self._shared.places(root, mailbox)
        self._adapter = GraphRequestAdapter(AnonymousAuthenticationProvider(), client=client)
        # The SDK's traces would hold whole URLs.
        self._adapter.observability_options = ObservabilityOptions(include_euii_attributes=False)
        self.sdk = GraphServiceClient(request_adapter=self._adapter)

    def exchange(self) -> "Exchange":
        """Requests in, answers out."""
        return Exchange(self._shared.loop, self)

    def close(self) -> None:
        """Give back the connections, if no other source uses them."""
        leave(self._shared)

    async def send(self, request: Request) -> Came:
        """What comes of it. Runs on the loop."""
        try:
            taken = await self._places.take(request.weight)
            try:
                sent = await self._adapter.send_primitive_async(_information(request), "bytes", {})
            finally:
                self._places.give_back(taken)
        except Exception as error:  # noqa: BLE001 - for the caller's thread to look at
            return fault_of_error(error, self._root, self._mailbox) or error
        response = cast(httpx.Response, sent)
        return Answer(response.status_code, response.headers, response.content)


def _information(request: Request) -> RequestInformation:
    told = RequestInformation(Method.GET if request.body is None else Method.POST)
    told.url = request.url
    headers = {
        "Authorization": f"Bearer {request.token}",
        "Accept": request.accept,
        "Prefer": PREFER,
        "User-Agent": "mailover",
    }
    if request.accept == MIME:
        # httpx does not notice where a compressed body was cut short.
        headers["Accept-Encoding"] = "identity"
    if request.body is not None:
        headers["Content-Type"] = "application/json"
        told.content = request.body
    told.headers.add_all(headers)
    told.add_request_options([_NATIVE])
    return told


class Exchange:
    """Takes requests from the caller's thread to the loop and brings their answers back, in lots."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire) -> None:
        self._loop, self._wire = loop, wire
        self._wanted: deque[Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._done: list[tuple[Request, Came]] = []
        self._workers = self._running = self._held = 0
        self._lots: SimpleQueue[list[tuple[Request, Came]]] = SimpleQueue()

    def feed(self, requests: Iterable[Request], taken: int = 0) -> None:
        """Send these; ``taken`` bytes of earlier answers are held no longer."""
        self._loop.call_soon_threadsafe(self._feed, list(requests), taken)

    def lot(self) -> list[tuple[Request, Came]]:
        """The next few answers, once they are there."""
        return self._lots.get()

    def close(self) -> None:
        """Whatever has not been answered is given up."""
        with suppress(RuntimeError):  # the loop has ended with its last source
            self._loop.call_soon_threadsafe(self._give_up)

    def _feed(self, requests: Iterable[Request], taken: int) -> None:
        self._held -= taken
        self._room.set()
        self._wanted.extend(requests)
        while self._workers < min(AT_ONCE, self._running + len(self._wanted)):
            self._workers += 1
            task = self._loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _give_up(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        """One of four that send what is wanted, until nothing is left."""
        while self._wanted:
            if self._held >= _HELD_BYTES:
                self._room.clear()
                await self._room.wait()
                continue
            request = self._wanted.popleft()
            self._running += 1
            self._bring(request, await self._wire.send(request))
        self._workers -= 1

    def _bring(self, request: Request, came: Came) -> None:
        self._running -= 1
        self._held += size_of(came)
        self._done.append((request, came))
        nothing_comes = not (self._running or self._wanted)
        if len(self._done) >= _LOT or nothing_comes or self._held >= _HELD_BYTES:
            self._lots.put(self._done)
            self._done = []
