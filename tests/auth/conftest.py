"""A token service for the room's tests, and a tenant that signs in to it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.auth import TokenProvider
from pipelines.config import Endpoints, SecretCredential, Tenant
from tests.auth.entra import CLIENT, SECRET, TENANT, Entra, make_ca, serving


class WaitlessClock:
    """Real dates; waits pass at once and are written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.passed += seconds


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def entra(ca: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    monkeypatch.setenv("MAILOVER_TEST_SECRET", SECRET)
    for name in (
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving(Entra(), ca[1]) as service:
        yield service


@pytest.fixture
def tenant(entra: Entra, ca: tuple[Path, Path]) -> Tenant:
    return Tenant(
        id=TENANT,
        client_id=CLIENT,
        credential=SecretCredential(secret_env="MAILOVER_TEST_SECRET"),
        endpoints=Endpoints(authority=entra.url, ca_file=ca[0]),
    )


@pytest.fixture
def clock() -> WaitlessClock:
    return WaitlessClock()


@pytest.fixture
def provide(clock: WaitlessClock) -> Iterator[Callable[[Tenant], TokenProvider]]:
    """Make a provider that is closed when the test ends."""
    made: list[TokenProvider] = []

    def make(tenant: Tenant) -> TokenProvider:
        made.append(TokenProvider(tenant, clock))
        return made[-1]

    yield make
    for provider in made:
        provider.close()
