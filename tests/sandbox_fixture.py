"""A sandbox tenant as a process of its own, for any test that wants one."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.config import Config, load_config
from pipelines.sandbox.control import SandboxControl

ROOT = Path(__file__).parents[1]


@dataclass
class RunningSandbox:
    """A tenant, how to configure it, and how to tell it what to do."""

    directory: Path
    config_path: Path
    control: SandboxControl
    secret: str
    process: subprocess.Popen[str]

    @property
    def config(self) -> Config:
        return load_config(self.config_path)

    @property
    def environment(self) -> dict[str, str]:
        """For commands and runs in other processes."""
        return {
            **os.environ,
            "MAILOVER_CONFIG": str(self.config_path),
            "MAILOVER_CLIENT_SECRET": self.secret,
            "PYTHONPATH": str(ROOT),
        }


Starter = Callable[..., RunningSandbox]


@contextmanager
def running_sandbox(directory: Path, *options: str) -> Iterator[RunningSandbox]:
    """A tenant with its files in ``directory``, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.sandbox", "--directory", str(directory), "--with-parent", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line, f"the sandbox ended with {process.wait()}"
    ready = json.loads(line)
    control = SandboxControl(directory, ready["url"])
    try:
        secret = (directory / "client-secret").read_text()
        yield RunningSandbox(directory, Path(ready["config"]), control, secret, process)
    finally:
        control.close()
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture
def start_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    """Start a tenant with the options of ``python -m pipelines.sandbox``; it ends with the test.

    Its client secret is in the environment, as its configuration expects.
    """
    with ExitStack() as stack:
        count = itertools.count()

        def starter(*options: str) -> RunningSandbox:
            directory = tmp_path / f"sandbox{next(count)}"
            started = stack.enter_context(running_sandbox(directory, *options))
            monkeypatch.setenv("MAILOVER_CLIENT_SECRET", started.secret)
            return started

        yield starter


@pytest.fixture
def sandbox(start_sandbox: Starter) -> RunningSandbox:
    """A small tenant with generated mail."""
    return start_sandbox("--messages", "120")
