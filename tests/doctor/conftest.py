"""A configuration of its own for each test, a token service, and servers that only shake hands."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from pipelines.config import Config, load_config
from tests.auth.entra import CLIENT, SECRET, TENANT, Entra, make_ca, serving
from tests.doctor.documented import WaitlessClock, tenant
from tests.sandbox_fixture import RunningSandbox

KIM, LEE = "kim.akers@contoso.com", "lee.gu@contoso.com"
Configure = Callable[..., Config]
Listen = Callable[[Path | None], int]


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    """One tenant for the whole room; borrow it."""
    with tenant() as sandbox:
        yield sandbox


@pytest.fixture
def clock() -> WaitlessClock:
    return WaitlessClock()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_ca(tmp_path_factory.mktemp("doctor"))


@pytest.fixture
def entra(certificates: tuple[Path, Path]) -> Iterator[Entra]:
    with serving(Entra(), certificates[1]) as service:
        yield service


@pytest.fixture
def configure(tmp_path: Path, certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Write and load a configuration; ``tenant`` and ``mailboxes`` replace what it usually says."""
    monkeypatch.setenv("MAILOVER_CLIENT_SECRET", SECRET)

    def make(
        tenant: dict[str, object] | None = None,
        mailboxes: list[dict[str, object]] | None = None,
        index: str = "sqlite:///mailover.db",
    ) -> Config:
        document = {
            "tenant": {
                "id": TENANT,
                "client_id": CLIENT,
                "credential": {"secret_env": "MAILOVER_CLIENT_SECRET"},
                "endpoints": {"ca_file": str(certificates[0])},
                **(tenant or {}),
            },
            "storage": {"lake": "./lake", "index": index},
            "mailboxes": mailboxes or [{"address": KIM, "legacy": "imap"}],
        }
        path = tmp_path / "mailover.yaml"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return load_config(path)

    return make


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen on a free port: with a certificate TLS and nothing more, without one plain text."""
    with ExitStack() as stack:
        yield lambda certificate: stack.enter_context(_listening(certificate))


@contextmanager
def _listening(certificate: Path | None) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(certificate)

    def greet() -> None:
        with suppress(OSError):
            while True:
                client, _address = server.accept()
                with suppress(OSError), client:
                    if certificate:
                        context.wrap_socket(client, server_side=True).close()
                    else:
                        client.sendall(b"* OK IMAP4rev1 with STARTTLS\r\n")
                        client.recv(1)

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
