"""An object store that speaks S3: moto's server as a process of its own on a free port of 127.0.0.1."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

_STARTED_WITHIN = 30.0
_BUCKET = "mail"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "the-id-of-the-tests", "AWS_SECRET_ACCESS_KEY": "the-key-of-the-tests"}


class ObjectStore:
    """A running server with one bucket."""

    def __init__(self, port: int, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._port, self._log = port, log
        self._numbers = itertools.count(1)

    def lake_url(self) -> str:
        """A lake that nobody has used."""
        parameters = f"region=eu-west-1&scheme=http&endpoint_override=127.0.0.1:{self._port}"
        return f"s3://{_BUCKET}/lakes/{next(self._numbers)}?{parameters}"

    def requests(self) -> list[str]:
        """Method and path of every request so far."""
        lines = self._log.read_text().splitlines()
        return [line.split('"')[1].removesuffix(" HTTP/1.1") for line in lines if " HTTP/1.1" in line]


@contextlib.contextmanager
def running_object_store(folder: Path) -> Iterator[ObjectStore]:
    """Start a server of one's own, which logs to ``folder``; stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "NO_COLOR": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _make_bucket(process, f"http://127.0.0.1:{port}/{_BUCKET}")
            yield ObjectStore(port, folder / "log", process)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _make_bucket(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.put(url, timeout=5).raise_for_status()
            return
        time.sleep(0.05)
    raise RuntimeError("the object store did not start")


@pytest.fixture(scope="session")
def _object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with running_object_store(tmp_path_factory.mktemp("object-store")) as store:
        yield store


@pytest.fixture
def object_store(_object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """One server for all tests, and what it wants to be signed with in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return _object_store
