"""Reading a mailbox over Graph: Mailover's source beside bare httpx, and beside msgraph-sdk as shipped.

    python -m benchmarks.graph                       a listing, small mail, business mail
    python -m benchmarks.graph --rounds 9 --json

All ask one static server, a process of its own, over TLS for the same bytes: a delta in pages of 500, and
messages as MIME, four at a time. httpx does the least that a reader can: it parses each page's JSON and
throws each message away. Mailover sends through msgraph-sdk's adapter, makes entries of the pages and checks
each message for completeness; its pace, which keeps to Graph's limits, is set aside. The SDK as shipped makes
models of the pages; it reads one page only. Rounds alternate, the first one does not count; figures are
medians, ratios those of time per message to httpx's in the same round.
"""

import argparse
import asyncio
import gc
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from kiota_abstractions.authentication.access_token_provider import AccessTokenProvider
from kiota_abstractions.authentication.allowed_hosts_validator import AllowedHostsValidator
from kiota_abstractions.authentication.base_bearer_token_authentication_provider import (
    BaseBearerTokenAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph_core import GraphClientFactory

from benchmarks.racing import cpu_seconds
from benchmarks.reading import WaitlessClock
from benchmarks.static_graph import ADDRESS, PAGE
from pipelines.auth import Resource, TokenProvider
from pipelines.config import Endpoints, MailboxConfig, SecretCredential, Tenant
from pipelines.sources import Entry, Fetched, Folder, Page, Role
from pipelines.sources.graph import GraphSource
from pipelines.sources.graph_listing import PROPERTIES
from pipelines.sources.graph_session import GraphSession
from tests.auth.entra import CLIENT, TENANT, make_ca

INBOX = Folder("Inbox", Role.INBOX, "inbox")
AT_ONCE = 4
HEADERS = {"Authorization": "Bearer token", "Prefer": 'IdType="ImmutableId", odata.maxpagesize=500'}


@dataclass
class Server:
    """Where it answers, whom it is trusted by, and how many messages it has."""

    root: str
    ca_file: Path
    messages: int

    @property
    def tenant(self) -> Tenant:
        return Tenant(
            id=TENANT,
            client_id=CLIENT,
            credential=SecretCredential(secret_env="NOT_SET"),
            endpoints=Endpoints(graph=self.root, ca_file=self.ca_file),
        )

    @property
    def user(self) -> str:
        return f"{self.root}/users/{ADDRESS}"


class OneToken(TokenProvider):
    """No sign-in."""

    def token(self, resource: Resource, *, refresh: bool = False) -> str:  # noqa: ARG002
        return "token"


Reader = Callable[[Server], int]
"""Reads, and tells how many messages."""


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=server.ca_file)
    async with httpx.AsyncClient(verify=context, headers=HEADERS, timeout=60) as opened:
        yield opened


def httpx_pages(server: Server) -> int:
    async def read() -> int:
        url: str | None = f"{server.user}/mailFolders/inbox/messages/delta?$select={','.join(PROPERTIES)}"
        found = 0
        async with client(server) as opened:
            while url:
                answer = await opened.get(url)
                page = json.loads(answer.raise_for_status().content)
                found += len(page["value"])
                url = page.get("@odata.nextLink")
        return found

    return asyncio.run(read())


def httpx_messages(server: Server) -> int:
    async def read() -> int:
        left, found = iter(range(server.messages)), 0
        async with client(server) as opened:

            async def some() -> None:
                nonlocal found
                for number in left:
                    answer = await opened.get(f"{server.user}/messages/{number}/$value")
                    found += bool(answer.raise_for_status().content)

            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return found

    return asyncio.run(read())


def mailover_pages(server: Server) -> int:
    """Through msgraph-sdk's adapter to JSON."""
    session = GraphSession(server.tenant, ADDRESS, OneToken(server.tenant), WaitlessClock(), PROPERTIES)
    with closing(session):
        return sum(map(len, session.pages(session.urls.delta("inbox"))))


def mailover_entries(server: Server) -> int:
    """As the ingestion asks for them."""
    with closing(source(server)) as opened:
        return sum(len(each.entries) for each in opened.changes(INBOX, None) if isinstance(each, Page))


def mailover_messages(server: Server) -> int:
    with closing(source(server)) as opened:
        entries = [Entry(str(number)) for number in range(server.messages)]
        return sum(isinstance(each, Fetched) for each in opened.fetch(INBOX, entries))


def source(server: Server) -> GraphSource:
    return GraphSource(
        server.tenant, MailboxConfig(address=ADDRESS), OneToken(server.tenant), WaitlessClock()
    )


class _SdkToken(AccessTokenProvider):
    async def get_authorization_token(self, uri: str, context: object = None) -> str:  # noqa: ARG002
        return "token"

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return AllowedHostsValidator(["localhost"])


@asynccontextmanager
async def sdk(server: Server) -> AsyncIterator[GraphServiceClient]:
    async with client(server) as opened:
        adapter = GraphRequestAdapter(
            BaseBearerTokenAuthenticationProvider(_SdkToken()),
            client=GraphClientFactory.create_with_default_middleware(client=opened),
        )
        adapter.base_url = server.root
        yield GraphServiceClient(request_adapter=adapter)


def sdk_models(server: Server) -> int:
    """One page."""

    async def read() -> int:
        async with sdk(server) as opened:
            user = opened.users.by_user_id(ADDRESS)
            page = await user.mail_folders.by_mail_folder_id("inbox").messages.delta.get()
            return len(page.value)

    return asyncio.run(read())


def sdk_messages(server: Server) -> int:
    async def read() -> int:
        left, found = iter(range(server.messages)), 0
        async with sdk(server) as opened:
            user = opened.users.by_user_id(ADDRESS)

            async def some() -> None:
                nonlocal found
                for number in left:
                    mime = await user.messages.by_message_id(str(number)).content.get()
                    found += bool(mime)

            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        return found

    return asyncio.run(read())


LISTING: dict[str, Reader] = {
    "httpx, JSON": httpx_pages,
    "mailover, JSON": mailover_pages,
    "mailover, entries": mailover_entries,
    "msgraph-sdk, models": sdk_models,
}
MESSAGES: dict[str, Reader] = {
    "httpx": httpx_messages,
    "mailover": mailover_messages,
    "msgraph-sdk": sdk_messages,
}
Figures = dict[str, dict[str, float]]


@contextmanager
def serving(kind: str, count: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        ca_file, certificate = make_ca(Path(folder))
        command = [sys.executable, "-m", "benchmarks.static_graph", str(certificate), kind, str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                yield Server(process.stdout.readline().strip(), ca_file, count)
            finally:
                # It has nothing to end well, and may have inherited that it ignores a signal.
                process.kill()


Times = dict[str, list[tuple[float, float]]]
"""Wall and CPU seconds per message, of each reader in each round."""


def timed(readers: dict[str, Reader], server: Server, rounds: int) -> Times:
    taken: Times = {name: [] for name in readers}
    for number in range(-1, rounds):
        for name, read in readers.items():
            # A look through all that this process has imported would fall on one reader or the other.
            gc.collect()
            gc.freeze()
            wall, cpu = time.perf_counter(), cpu_seconds()
            found = read(server)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            listed = min(PAGE, server.messages) if read is sdk_models else server.messages
            assert found == listed, f"{name}: {found} messages"
            if number >= 0:
                taken[name].append((wall / found, cpu / found))
    return taken


def ratios(times: Times, name: str, what: int = 0) -> list[float]:
    """A reader's wall time, or ``what=1`` CPU time, to the first one's, round by round."""
    first = next(iter(times.values()))
    return [mine[what] / base[what] for mine, base in zip(times[name], first, strict=True)]


def race(readers: dict[str, Reader], server: Server, rounds: int) -> Figures:
    taken = timed(readers, server, rounds)
    return {
        name: {
            "messages_per_s": 1 / statistics.median(wall for wall, _ in times),
            "wall_ratio": statistics.median(ratios(taken, name)),
            "cpu_ratio": statistics.median(ratios(taken, name, 1)),
        }
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=2000, help="messages of some 3 KB (default 2000)")
    parser.add_argument("--business", type=int, default=500, help="messages of some 77 KB (default 500)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures: dict[str, Figures] = {}
    with serving("small", options.small) as server:
        figures["listing"] = race(LISTING, server, options.rounds)
        figures["small"] = race(MESSAGES, server, options.rounds)
    with serving("business", options.business) as server:
        figures["business"] = race(MESSAGES, server, options.rounds)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, rows in figures.items():
        print(name)
        for reader, row in rows.items():
            print(
                f"  {reader:22} {row['messages_per_s']:8.0f} messages/s"
                f"  x{row['wall_ratio']:6.2f} wall  x{row['cpu_ratio']:6.2f} CPU"
            )


if __name__ == "__main__":
    main()
