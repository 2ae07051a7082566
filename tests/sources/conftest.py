"""Scripted servers, the sources that read them, and a clock that does not wait."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from pipelines.auth import Resource, TokenProvider
from pipelines.clock import Clock
from pipelines.config import Endpoints, FolderRules, MailboxConfig, SecretCredential, Tenant
from pipelines.sources.graph import GraphSource
from pipelines.sources.imap import ImapSource
from pipelines.sources.pop3 import Pop3Source
from tests.auth.entra import CLIENT, TENANT, make_ca
from tests.sources import scripted, scripted_graph, scripted_pop3
from tests.sources.scripted import ScriptedServer, serving
from tests.sources.scripted_graph import ScriptedGraph
from tests.sources.scripted_pop3 import ScriptedPop3

MAILBOX = "kim.akers@contoso.com"


class WaitlessClock:
    """Real dates; waits pass at once and are written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        """What happens in the meantime."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return sum(self.waits)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.on_sleep()


class NumberedTokens(TokenProvider):
    """``access-token-1`` until a new one is asked for."""

    def __init__(self, tenant: Tenant) -> None:
        super().__init__(tenant)
        self.number = 1
        self.given: str | None = None

    def token(self, resource: Resource, *, refresh: bool = False) -> str:
        assert resource is Resource.OUTLOOK
        self.number += refresh
        return self.given or f"access-token-{self.number}"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_ca(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: tuple[Path, Path]) -> Iterator[ScriptedServer]:
    """The server; whatever a test does, nothing but reading commands may have been sent to it."""
    with serving(ScriptedServer(), certificates[1]) as served:
        yield served
    assert not [each for each in served.commands if not scripted.READING.fullmatch(each)]


@pytest.fixture
def pop3_server(certificates: tuple[Path, Path]) -> Iterator[ScriptedPop3]:
    """The same over POP3."""
    with serving(ScriptedPop3(), certificates[1]) as served:
        yield served
    assert not [each for each in served.commands if not scripted_pop3.READING.fullmatch(each)]


@pytest.fixture
def clock() -> WaitlessClock:
    return WaitlessClock()


@pytest.fixture
def tenant(server: ScriptedServer, certificates: tuple[Path, Path]) -> Tenant:
    return tenant_at(f"localhost:{server.port}", certificates[0])


def tenant_at(server: str, ca_file: Path | None) -> Tenant:
    """A tenant whose IMAP or POP3 server is ``server``."""
    return Tenant(
        id=TENANT,
        client_id=CLIENT,
        credential=SecretCredential(secret_env="NOT_SET"),
        endpoints=Endpoints(imap=server, pop3=server, ca_file=ca_file),
    )


@pytest.fixture
def tokens(tenant: Tenant) -> NumberedTokens:
    return NumberedTokens(tenant)


Kind = TypeVar("Kind", ImapSource, Pop3Source)
Opener = Callable[[Tenant, TokenProvider], ImapSource]
Pop3Opener = Callable[[Tenant, TokenProvider], Pop3Source]


@contextmanager
def opening(kind: type[Kind], clock: Clock) -> Iterator[Callable[[Tenant, TokenProvider], Kind]]:
    """A way to make sources that are closed when the test ends."""
    with ExitStack() as stack:

        def make(tenant: Tenant, tokens: TokenProvider) -> Kind:
            source = kind(tenant, MAILBOX, tokens, clock)
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def open_imap(clock: WaitlessClock) -> Iterator[Opener]:
    with opening(ImapSource, clock) as make:
        yield make


@pytest.fixture
def open_pop3(clock: WaitlessClock) -> Iterator[Pop3Opener]:
    with opening(Pop3Source, clock) as make:
        yield make


@pytest.fixture
def source(open_imap: Opener, tenant: Tenant, tokens: NumberedTokens) -> ImapSource:
    return open_imap(tenant, tokens)


@pytest.fixture
def pop3_tokens(pop3_server: ScriptedPop3, certificates: tuple[Path, Path]) -> NumberedTokens:
    return NumberedTokens(tenant_at(f"localhost:{pop3_server.port}", certificates[0]))


@pytest.fixture
def pop3(
    pop3_server: ScriptedPop3,
    certificates: tuple[Path, Path],
    pop3_tokens: NumberedTokens,
    open_pop3: Pop3Opener,
) -> Pop3Source:
    return open_pop3(tenant_at(f"localhost:{pop3_server.port}", certificates[0]), pop3_tokens)


class GraphTokens(TokenProvider):
    """``graph-token-1`` until a new one is asked for."""

    number = 1
    given: str | None = None

    def token(self, resource: Resource, *, refresh: bool = False) -> str:
        assert resource is Resource.GRAPH
        self.number += refresh
        return self.given or f"graph-token-{self.number}"


@pytest.fixture
def graph(certificates: tuple[Path, Path]) -> Iterator[ScriptedGraph]:
    """Graph; whatever a test does, it may have been asked only to read, and only by immutable ids."""
    with scripted_graph.serving(ScriptedGraph(), certificates[1]) as scripted:
        yield scripted
    assert all(each.method == "GET" or each.url == "/$batch" for each in scripted.asked)
    assert all('IdType="ImmutableId"' in each.headers["prefer"] for each in scripted.asked)


def graph_tenant_at(root: str, ca_file: Path | None) -> Tenant:
    """A tenant whose Graph is at ``root``."""
    credential = SecretCredential(secret_env="NOT_SET")
    return Tenant(
        id=TENANT, client_id=CLIENT, credential=credential, endpoints=Endpoints(graph=root, ca_file=ca_file)
    )


@pytest.fixture
def graph_tenant(graph: ScriptedGraph, certificates: tuple[Path, Path]) -> Tenant:
    return graph_tenant_at(graph.root, certificates[0])


@pytest.fixture
def graph_tokens(graph_tenant: Tenant) -> GraphTokens:
    return GraphTokens(graph_tenant)


GraphOpener = Callable[..., GraphSource]


@pytest.fixture
def open_graph(clock: WaitlessClock, graph_tokens: GraphTokens) -> Iterator[GraphOpener]:
    """Make a source that is closed when the test ends."""
    with ExitStack() as stack:

        def make(tenant: Tenant, *, hidden: bool = False, tokens: TokenProvider | None = None) -> GraphSource:
            mailbox = MailboxConfig(address=MAILBOX, folders=FolderRules(hidden=hidden))
            source = GraphSource(tenant, mailbox, tokens or graph_tokens, clock)
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def graph_source(open_graph: GraphOpener, graph_tenant: Tenant) -> GraphSource:
    return open_graph(graph_tenant)
