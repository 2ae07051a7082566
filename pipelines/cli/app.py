"""The command's frame: its options, its exit codes, and errors as sentences."""

import os
import sys
from pathlib import Path

import click

from pipelines.cli.backfill import backfill
from pipelines.cli.compact import compact
from pipelines.cli.cutover import cutover, history
from pipelines.cli.demo import demo
from pipelines.cli.doctor import doctor
from pipelines.cli.import_ import import_
from pipelines.cli.ingest import ingest
from pipelines.cli.init import init
from pipelines.cli.parity import parity
from pipelines.cli.purge import purge
from pipelines.cli.quarantine import quarantine
from pipelines.cli.report import report
from pipelines.cli.sandbox import sandbox
from pipelines.cli.search import search, show
from pipelines.cli.setup import setup
from pipelines.cli.status import status
from pipelines.cli.verify import verify
from pipelines.cli.waves import waves
from pipelines.errors import MailoverError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="MAILOVER_CONFIG",
    help="The configuration file.  [default: mailover.yaml]",
)
@click.version_option(package_name="mailover")
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Carry Exchange Online mailboxes from IMAP and POP3 over to Microsoft Graph.

    Exit codes: 0 done, 1 something needs attention, 2 usage or configuration,
    3 could not reach or sign in.
    """
    context.obj = config


COMMANDS = (
    demo, sandbox, init, setup, doctor, ingest, backfill, import_, status, parity, cutover, history, waves,
    quarantine, report, search, show, verify, compact, purge,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with the documented code."""
    try:
        code = cli(standalone_mode=False)
    except MailoverError as error:
        click.echo(f"mailover: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nmailover: stopped; the next run goes on from the last commit", err=True)
        sys.stderr.flush()
        # Readers in other threads may be waiting for a server; everything committed is safe.
        os._exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has enough; Python must not fail over it again while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
