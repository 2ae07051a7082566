"""Whom the Graph source trusts, and what it says where there is no way to Graph."""

import socket
import threading
from pathlib import Path

import pytest

from pipelines.errors import ConfigurationError, UnreachableError
from pipelines.sources import Folder, Role
from pipelines.sources.graph import GraphSource
from tests.auth.entra import make_ca
from tests.sources.conftest import GraphOpener, WaitlessClock, graph_tenant_at
from tests.sources.scripted_graph import INBOX_ID, ScriptedGraph

INBOX = Folder("Inbox", Role.INBOX, INBOX_ID)


def test_a_private_ca_that_is_not_given_is_explained(
    graph: ScriptedGraph, open_graph: GraphOpener, clock: WaitlessClock
) -> None:
    with pytest.raises(UnreachableError, match=r"not trusted.*\n.*tenant\.endpoints\.ca_file"):
        open_graph(graph_tenant_at(graph.root, None)).folders()
    assert (graph.asked, clock.waits) == ([], [])


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_the_ca_file_wins_over_the_environment(
    graph: ScriptedGraph,
    graph_source: GraphSource,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "nothing.pem"))
    assert graph_source.count(INBOX) == 0


def test_certificates_of_the_environment_do_not_replace_a_given_file(
    graph: ScriptedGraph,
    open_graph: GraphOpener,
    certificates: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    other, _server = make_ca(tmp_path)
    with pytest.raises(UnreachableError, match="not trusted"):
        open_graph(graph_tenant_at(graph.root, other)).count(INBOX)


def test_a_proxy_of_the_environment_is_used(
    graph: ScriptedGraph, graph_source: GraphSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(each, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed}")
    with pytest.raises(UnreachableError):
        graph_source.count(INBOX)
    assert graph.asked == []


def test_a_certificate_for_another_name_is_refused(
    graph: ScriptedGraph, open_graph: GraphOpener, certificates: tuple[Path, Path]
) -> None:
    with pytest.raises(UnreachableError, match="not trusted"):
        open_graph(graph_tenant_at(f"https://127.0.0.1:{graph.port}/v1.0", certificates[0])).count(INBOX)


def test_a_ca_file_that_cannot_be_read_is_a_fault_of_the_configuration(
    graph: ScriptedGraph, open_graph: GraphOpener, tmp_path: Path
) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="ca_file"):
        open_graph(graph_tenant_at(graph.root, broken)).count(INBOX)
    assert "graph" not in [each.name for each in threading.enumerate()]


def test_a_name_that_does_not_exist_is_explained(open_graph: GraphOpener, clock: WaitlessClock) -> None:
    with pytest.raises(UnreachableError, match=r"graph\.nowhere\.invalid is not known"):
        open_graph(graph_tenant_at("https://graph.nowhere.invalid/v1.0", None)).count(INBOX)
    assert len(clock.waits) == 2


def test_a_closed_port_is_explained(open_graph: GraphOpener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match="refused"):
        open_graph(graph_tenant_at(f"https://localhost:{port}/v1.0", None)).count(INBOX)


def test_a_port_without_tls_is_explained(open_graph: GraphOpener, certificates: tuple[Path, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _peer = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        root = f"https://localhost:{listener.getsockname()[1]}/v1.0"
        with pytest.raises(UnreachableError, match="TLS failed"):
            open_graph(graph_tenant_at(root, certificates[0])).count(INBOX)
        thread.join()
