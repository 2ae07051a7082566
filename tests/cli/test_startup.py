"""What a command imports: its own libraries, and those of no other."""

import subprocess
import sys

import click
import pytest

from pipelines.cli.app import COMMANDS, cli
from tests.sandbox_fixture import RunningSandbox

_GRAPH = {"httpx", "kiota_abstractions", "msgraph"}
_SIGN_IN = {"cryptography", "jwt", "msal", "requests"}
_OTHERS = {"alembic", "dagster", "pyarrow.compute", "sqlalchemy.dialects.postgresql", "twisted"}


def _imported(sandbox: RunningSandbox, *arguments: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-m", "pipelines.cli", *arguments]
    ran = subprocess.run(command, env=sandbox.environment, capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_its_name_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command
    assert command.name == name


def test_version_imports_nothing_of_the_pipelines(sandbox: RunningSandbox) -> None:
    assert not _imported(sandbox, "--version") & {"pipelines.config", "pydantic", "rich", "sqlalchemy"}


@pytest.mark.parametrize("command", [("status",), ("search", "megan")])
def test_what_asks_the_index_alone_imports_no_way_to_the_lake_or_to_a_server(
    sandbox: RunningSandbox, command: tuple[str, ...]
) -> None:
    made = _imported(sandbox, "history")
    assert "alembic" in made  # the index is not there yet
    imported = _imported(sandbox, *command)
    assert "sqlalchemy" in imported
    assert not imported & {"imapclient", "pyarrow", *_GRAPH, *_SIGN_IN, *_OTHERS}


def test_ingest_by_imap_imports_nothing_of_graph(sandbox: RunningSandbox) -> None:
    mailbox = sandbox.config.mailboxes[0].address
    assert "msal" in _imported(sandbox, "ingest", mailbox)
    imported = _imported(sandbox, "ingest", mailbox)
    assert "imapclient" in imported
    assert not imported & {"cryptography", "email.policy", "jwt", *_GRAPH, *_OTHERS}
