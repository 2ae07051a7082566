"""A Redis on a free port of localhost, with a password and TLS of a private CA; nothing else gets in."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.auth.entra import make_ca

INSTALL = "apt-get install --yes redis-server"
PASSWORD = "swordfish-of-the-tests"
_STARTED_WITHIN = 30.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Start a Redis of one's own, with its files in ``folder``; gives its URL. Stopped at the end."""
    program = shutil.which("redis-server")
    if program is None:
        raise pytest.fail.Exception(f"Redis is not installed: run `{INSTALL}` as root", pytrace=False)
    ca_file, server_file = make_ca(folder)
    port = free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(server_file),
        "tls-key-file": str(server_file),
        "tls-ca-cert-file": str(ca_file),
        "tls-auth-clients": "no",
        "requirepass": PASSWORD,
        "save": '""',
        "appendonly": "yes",  # so that a test can look at all that it was ever given
        "appendfsync": "no",
        "dir": str(folder),
        "logfile": str(folder / "redis.log"),
    }
    (folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    url = f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={ca_file}"
    process = subprocess.Popen([program, folder / "redis.conf"])
    try:
        _await(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + _STARTED_WITHIN
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return
            time.sleep(0.02)
    raise RuntimeError("Redis did not start")
