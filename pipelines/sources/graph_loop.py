"""The one event loop of this process, in a thread of its own for as long as anyone needs it.

httpx's connections belong to the loop they were made on, so all sources share one loop, and
with it the connections to Graph and the four places that each mailbox has there.
"""

import asyncio
import logging
import os
import ssl
import threading
from functools import cache
from pathlib import Path
from weakref import WeakValueDictionary

import httpx

from pipelines.auth import trust
from pipelines.sources.graph_limits import AT_ONCE

_TIMEOUT = httpx.Timeout(120, connect=20)
"""Seconds; Exchange converts a message while the client waits for its first byte."""
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=60)


class Places:
    """Four requests at a time for one mailbox, whoever asks; lives on the loop."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._free = asyncio.Semaphore(AT_ONCE)

    async def take(self, wanted: int) -> int:
        """Hold up to ``wanted`` places, the number of which is told and has to be given back.

        One asker at a time, so that none wait for each other's.
        """
        taken = 0
        try:
            async with self._door:
                while taken < min(wanted, AT_ONCE):
                    await self._free.acquire()
                    taken += 1
        except BaseException:
            self.give_back(taken)
            raise
        return taken

    def give_back(self, places: int) -> None:
        """Let others have them."""
        for _ in range(places):
            self._free.release()


class SharedLoop:
    """A running loop with what is shared on it. Made by ``enter``, ended by the last ``leave``."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="graph", daemon=True)
        self._thread.start()
        self.users = 0
        self._clients: dict[Path | None, httpx.AsyncClient] = {}
        self._places: WeakValueDictionary[tuple[str, str], Places] = WeakValueDictionary()

    def places(self, root: str, mailbox: str) -> Places:
        """The mailbox's places at the Graph below ``root``."""
        with _lock:
            return self._places.setdefault((root, mailbox), Places())

    def client(self, ca_file: Path | None) -> httpx.AsyncClient:
        """Connections that trust ``ca_file``, or the system's certificates.

        Proxies are taken from the environment; certificates are not where a file is given. Nothing is sent
        again and no redirection followed: that is for the session. Raises ``ConfigurationError``.
        """
        with _lock:
            if ca_file not in self._clients:
                self._clients[ca_file] = httpx.AsyncClient(
                    verify=_trusted(ca_file), timeout=_TIMEOUT, limits=_LIMITS
                )
            return self._clients[ca_file]

    async def _finish(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    def end(self) -> None:
        """Give everything back, and wait until the thread has ended."""
        asyncio.run_coroutine_threadsafe(self._finish(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@cache
def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    # Read once, however often the loop ends: the system's certificates take a fiftieth of a second.
    # httpx writes its protocols into it, so that IMAP and POP3 have one of their own.
    return trust(ca_file)


_lock = threading.Lock()
_current: list[SharedLoop] = []


def enter() -> SharedLoop:
    """The process's loop, started if need be. Whoever enters has to ``leave``."""
    with _lock:
        if not _current:
            _current.append(SharedLoop())
        _current[0].users += 1
        return _current[0]


def leave(shared: SharedLoop) -> None:
    """End the loop if nobody else is on it."""
    with _lock:
        shared.users -= 1
        if not shared.users:
            _current.clear()
            shared.end()


# A forked child has the loop's memory and not its thread.
os.register_at_fork(after_in_child=_current.clear)


def _without_query(record: logging.LogRecord) -> bool:
    """httpx logs whole URLs; those of Graph carry delta and skip tokens."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            each.copy_with(query=None) if isinstance(each, httpx.URL) else each for each in record.args
        )
    return True


def _without_headers(record: logging.LogRecord) -> bool:
    """httpcore logs the headers of answers; a Location can be a link with tokens."""
    return "response_headers.complete" not in record.getMessage()


logging.getLogger("httpx").addFilter(_without_query)
logging.getLogger("httpcore.http11").addFilter(_without_headers)
