"""What doctor says of servers that are not there, are not who they should be, or tell another time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.auth import resolve
from pipelines.doctor import connections
from pipelines.doctor.connections import DISCOVERY, Endpoint, check_connection, endpoints_in_use
from pipelines.doctor.findings import Finding, State
from tests.auth.entra import TENANT, Entra
from tests.doctor.certificates import Authority
from tests.doctor.conftest import Configure, Listen
from tests.doctor.documented import WaitlessClock


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def imap(port: int, host: str = "localhost") -> Endpoint:
    return Endpoint("imap", "imaps", host, port)


def token_service(entra: Entra) -> Endpoint:
    return Endpoint("authority", "https", "localhost", entra.port, f"/{TENANT}{DISCOVERY}")


def first(endpoint: Endpoint, ca: Path | None, clock: WaitlessClock | None = None) -> Finding:
    return next(check_connection(endpoint, ca, clock or WaitlessClock()))


@pytest.mark.parametrize(
    ("begins", "ends", "state", "what"),
    [
        (timedelta(days=-2), timedelta(days=30, hours=1), State.OK, "valid for 30 more days"),
        (timedelta(days=-2), timedelta(days=3, hours=1), State.WARNING, "valid for 3 more days"),
        (timedelta(days=-2), timedelta(days=-1), State.FAILURE, "its certificate has expired"),
        (timedelta(days=2), timedelta(days=9), State.FAILURE, "its certificate is not valid yet"),
    ],
)
def test_a_certificate_is_judged_by_its_dates(
    authority: Authority,
    listen: Listen,
    tmp_path: Path,
    begins: timedelta,
    ends: timedelta,
    state: State,
    what: str,
) -> None:
    ca = authority.write_ca(tmp_path / "ca.pem")
    port = listen(authority.write_pair(tmp_path / "server.pem", begins=begins, ends=ends))
    found = first(imap(port), ca)
    assert (found.state, what in found.what) == (state, True), found


def test_a_certificate_for_another_name_is_shown_with_its_names(
    authority: Authority, listen: Listen, tmp_path: Path
) -> None:
    ca = authority.write_ca(tmp_path / "ca.pem")
    port = listen(authority.write_pair(tmp_path / "server.pem", "outlook.example.com"))
    found = first(imap(port), ca)
    assert found.what == "its certificate is for outlook.example.com, not for localhost"
    assert found.remedy == "correct the host in tenant.endpoints.imap"


def test_an_unknown_issuer_is_named(authority: Authority, listen: Listen, tmp_path: Path) -> None:
    other = Authority("Another CA").write_ca(tmp_path / "ca.pem")
    port = listen(authority.write_pair(tmp_path / "server.pem"))
    for ca in (other, None):
        found = first(imap(port), ca)
        assert "issued by “A CA of the network”, is not trusted" in found.what
        assert found.exit_code == 3


def test_a_port_without_tls_is_told_from_one_that_is_closed(listen: Listen) -> None:
    plain = first(imap(listen(None)), None)
    assert plain.what == "TLS failed"
    assert "not STARTTLS" in (plain.remedy or "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    assert first(imap(closed), None).what == "the connection was refused"


def test_a_name_that_is_not_known_and_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SECONDS", 0.2)
    assert first(imap(993, "no-such-host.invalid"), None).what == "the name no-such-host.invalid is not known"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert first(imap(silent.getsockname()[1]), None).what == "no answer within 0 s"


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        (timedelta(seconds=-30), State.OK),
        (timedelta(minutes=2), State.WARNING),
        (timedelta(minutes=-6), State.FAILURE),
        (timedelta(hours=26), State.FAILURE),
    ],
)
def test_the_clock_is_compared_with_the_servers_date(
    entra: Entra, certificates: tuple[Path, Path], ahead: timedelta, state: State
) -> None:
    endpoint = token_service(entra)
    found = [
        each
        for each in check_connection(endpoint, certificates[0], WaitlessClock(ahead))
        if each.check == "clock"
    ]
    assert [each.state for each in found] == [state]
    assert ("ahead of" in found[0].what) == (ahead > timedelta() and state is not State.OK)


def test_https_goes_through_the_proxy_of_the_environment(
    entra: Entra, certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = token_service(entra)
    with _proxy(entra.port) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://someone:pass%20word@127.0.0.1:{port}")
        assert "TLSv1.3" in first(endpoint, certificates[0]).what
    assert asked[0].startswith(f"CONNECT localhost:{entra.port} ")
    assert "Basic c29tZW9uZTpwYXNzIHdvcmQ=" in asked[0]
    with _proxy(None) as (port, _asked):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        found = first(endpoint, certificates[0])
        assert found.what == "the proxy 127.0.0.1 does not let it through"
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert first(endpoint, certificates[0]).state is State.SKIPPED


def test_a_bundle_of_the_environment_that_is_not_there_is_named(
    entra: Entra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    found = first(Endpoint("graph", "https", "localhost", entra.port), None)
    assert found.what == "the file of trusted certificates cannot be read"


def test_only_servers_in_use_are_looked_at(configure: Configure) -> None:
    servers = resolve(configure({"cloud": "us-gov-high"}).tenant)
    assert [str(each) for each in endpoints_in_use(servers, ["imap", "pop3", "graph"])] == [
        "authority (https://login.microsoftonline.us)",
        "graph (https://graph.microsoft.us)",
        "imap (imaps://outlook.office365.us:993)",
        "pop3 (pop3s://outlook.office365.us:995)",
    ]
    assert [each.name for each in endpoints_in_use(servers, ["graph"])] == ["authority", "graph"]


@contextmanager
def _proxy(target: int | None) -> Iterator[tuple[int, list[str]]]:
    """A proxy for one connection to ``target``; it refuses where there is none."""
    asked: list[str] = []

    def serve() -> None:
        client, _address = server.accept()
        with client:
            asked.append(client.recv(4096).decode())
            if target is None:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", target)) as behind:
                back = threading.Thread(target=_pump, args=(behind, client))
                back.start()
                _pump(client, behind)
                back.join()

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
