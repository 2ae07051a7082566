"""The command's frame: its options, its exit codes, and errors as sentences."""

import gc
import os
import sys
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import click

from pipelines.errors import MailoverError

INTERRUPTED = 130

COMMANDS = {
    "backfill": "backfill:backfill",
    "compact": "compact:compact",
    "cutover": "cutover:cutover",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "history": "cutover:history",
    "import": "import_:import_",
    "ingest": "ingest:ingest",
    "init": "init:init",
    "parity": "parity:parity",
    "purge": "purge:purge",
    "quarantine": "quarantine:quarantine",
    "report": "report:report",
    "sandbox": "sandbox:sandbox",
    "search": "search:search",
    "setup": "setup:setup",
    "show": "show:show",
    "status": "status:status",
    "verify": "verify:verify",
    "waves": "waves:waves",
}
"""Where each command is, in this package."""


class _Commands(click.Group):
    """The commands, each imported when it is run: all of them together take a second of CPU time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the same in every context
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return _imported(COMMANDS[cmd_name]) if cmd_name in COMMANDS else None


@cache
def _imported(place: str) -> click.Command:
    # What is imported stays. To look for garbage in it, again and again, took a quarter of the time.
    gc.disable()
    try:
        command: click.Command = resolve_name(f"{__package__}.{place}")
    finally:
        gc.freeze()
        gc.enable()
    return command


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
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
