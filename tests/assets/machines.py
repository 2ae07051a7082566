"""Dagster as it runs on several machines: code server, daemon and workers as processes of their own.

Instance settings are those of ``assets/instance/celery``, but for ports and waiting times.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from dagster._cli import create_dagster_cli

from tests.postgres_fixture import PASSWORD, Postgres
from tests.redis_fixture import free_port
from tests.sandbox_fixture import ROOT, RunningSandbox

SETTINGS = ROOT / "assets" / "instance" / "celery" / "dagster.yaml"
VALUES = ROOT / "assets" / "instance" / "kubernetes" / "values.yaml"
_STARTED_WITHIN = 60.0
_PROGRAMS = Path(sys.executable).parent


class Machines:
    """What runs, and how to start more."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home, self.environment = home, environment
        self._stack = ExitStack()

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a process in a session of its own, logging to ``name``.log; it ends with the test."""
        return self._stack.enter_context(_running(self.home / f"{name}.log", command, self.environment))

    def start_dagster(self) -> None:
        """The code server, and the daemon that launches and watches runs."""
        port = free_port()
        server = {"host": "127.0.0.1", "port": port, "location_name": "mailover"}
        (self.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        # As the chart does it.
        (deployment,) = yaml.safe_load(VALUES.read_text())["dagster-user-deployments"]["deployments"]
        command = [str(_PROGRAMS / "dagster"), "api", "grpc", "-h", "127.0.0.1", "-p", str(port)]
        code_server = self.start("code-server", *command, *deployment["dagsterApiGrpcArgs"])
        await_port(code_server, port)
        self.start(
            "daemon", str(_PROGRAMS / "dagster-daemon"), "run", "-w", str(self.home / "workspace.yaml")
        )

    def start_worker(self, name: str) -> "subprocess.Popen[bytes]":
        """One worker with one place, as on a machine of its own."""
        # Its children stay in its process group, so that all of them can be ended at once.
        celery = [str(_PROGRAMS / "celery"), "--app", "assets.worker", "worker"]
        return self.start(name, *celery, "--hostname", f"{name}@test", "--concurrency", "1")

    def launch(self, *mailboxes: str) -> None:
        """Put a run of the job ``ingest`` into Dagster's queue."""
        config = {"ops": {"mail": {"config": {"mailboxes": list(mailboxes)}}}}
        arguments = ["job", "launch", "--job", "ingest", "--config-json", json.dumps(config)]
        said = CliRunner().invoke(
            create_dagster_cli(),  # type: ignore[no-untyped-call]
            [*arguments, "--workspace", str(self.home / "workspace.yaml")],
            env=self.environment,
        )
        assert said.exit_code == 0, said.output

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()


@contextmanager
def machines(home: Path, sandbox: RunningSandbox, postgres: Postgres, broker: str) -> Iterator[Machines]:
    """A Dagster instance with PostgreSQL and ``broker``; nothing is running yet."""
    with postgres.database() as database, postgres.database(migrated=True) as index:
        _configure(home, sandbox, postgres, index)
        environment = {
            **sandbox.environment,
            "DAGSTER_HOME": str(home),
            "MAILOVER_DAGSTER_DB_HOST": "localhost",
            "MAILOVER_DAGSTER_DB_USER": "mailover",
            "MAILOVER_DAGSTER_DB_PASSWORD": PASSWORD,
            "MAILOVER_DAGSTER_DB_NAME": database,
            "MAILOVER_DAGSTER_BROKER": broker,
            "PGSSLROOTCERT": str(postgres.ca_file),
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        }
        started = Machines(home, environment)
        try:
            yield started
        finally:
            started.close()


def _configure(home: Path, sandbox: RunningSandbox, postgres: Postgres, index: str) -> None:
    home.mkdir()
    settings: dict[str, Any] = yaml.safe_load(SETTINGS.read_text())
    settings["storage"]["postgres"]["postgres_db"]["port"] = postgres.port
    for name in ("poll_interval_seconds", "free_slots_after_run_end_seconds"):
        settings["run_monitoring"][name] = min(settings["run_monitoring"][name], 1)
    settings["run_coordinator"] = {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    config: dict[str, Any] = yaml.safe_load(sandbox.config_path.read_text())
    config["storage"]["index"] = postgres.url(index)
    config["ingest"] = {"batch_bytes": 1}
    sandbox.config_path.write_text(yaml.safe_dump(config))


@contextmanager
def _running(
    log: Path, command: tuple[str, ...], environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until the process listens."""
    until = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the code server did not start")


def end(process: "subprocess.Popen[bytes]") -> None:
    """What a power failure does to a machine: the process and all of its children are gone at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
