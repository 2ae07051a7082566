"""``mailover waves``: what moves by itself, and a person's hand in it."""

from pathlib import Path

import click

from pipelines.cli.actor import actor
from pipelines.cli.output import json_option, print_json, stdout, table
from pipelines.config import Config
from pipelines.cutover.phases import Phase
from pipelines.cutover.policy import Plan, carry_out, plan
from pipelines.cutover.switch import Result
from pipelines.errors import UsageError
from pipelines.index.holds import Hold, hold_mailbox, hold_wave, release_mailbox, release_wave
from pipelines.ingest.workspace import Workspace, open_workspace

reason_option = click.option("--reason", required=True, help="Why.")


@click.group()
def waves() -> None:
    """Mailboxes that move by themselves, in waves."""


@waves.command()
@click.option("--tonight", is_flag=True, help="As if mailboxes might move at any hour.")
@json_option
@click.pass_obj
def show(config: Path | None, tonight: bool, as_json: bool) -> None:
    """Show how far each wave has come, and what would move now. Nothing is changed."""
    with open_workspace(config) as workspace:
        made = plan(workspace, any_hour=tonight)
    if as_json:
        print_json(made.to_json())
    else:
        _print(made)


@waves.command()
@json_option
@click.pass_obj
def run(config: Path | None, as_json: bool) -> int:
    """Move what the policy wants moved now."""
    with open_workspace(config) as workspace:
        outcomes = carry_out(workspace, plan(workspace).steps)
    if as_json:
        print_json([each.to_json() for each in outcomes])
    else:
        for each in outcomes:
            click.echo(f"{each.mailbox}: {each.result}: {each.why}")
        if not outcomes:
            click.echo("nothing is to be moved now; `mailover waves show` says why", err=True)
    return int(any(each.result in (Result.REFUSED, Result.FAILED) for each in outcomes))


@waves.command()
@click.argument("wave")
@reason_option
@click.pass_obj
def pause(config: Path | None, wave: str, reason: str) -> None:
    """Let nothing of WAVE move by itself."""
    with open_workspace(config) as workspace:
        _must_be_wave(workspace.config, wave)
        done = hold_wave(workspace.index, wave, _hold(workspace, reason))
    click.echo(f"wave {wave} is paused" if done else f"wave {wave} is paused already")


@waves.command()
@click.argument("wave")
@click.pass_obj
def resume(config: Path | None, wave: str) -> None:
    """Let WAVE go on."""
    with open_workspace(config) as workspace:
        _must_be_wave(workspace.config, wave)
        done = release_wave(workspace.index, wave)
    click.echo(f"wave {wave} goes on" if done else f"wave {wave} was not paused")


@waves.command()
@click.argument("mailboxes", nargs=-1, required=True)
@reason_option
@click.pass_obj
def skip(config: Path | None, mailboxes: tuple[str, ...], reason: str) -> None:
    """Take MAILBOXES over: they move by hand only, and hold up no wave."""
    with open_workspace(config) as workspace:
        for each in workspace.config.select(mailboxes):
            done = hold_mailbox(workspace.index, each.address, _hold(workspace, reason))
            click.echo(f"{each.address} {'moves by hand only' if done else 'was taken over already'}")


@waves.command()
@click.argument("mailboxes", nargs=-1, required=True)
@click.pass_obj
def unskip(config: Path | None, mailboxes: tuple[str, ...]) -> None:
    """Give MAILBOXES back to their waves."""
    with open_workspace(config) as workspace:
        for each in workspace.config.select(mailboxes):
            done = release_mailbox(workspace.index, each.address)
            click.echo(f"{each.address} {'moves with its wave again' if done else 'was not taken over'}")


def _hold(workspace: Workspace, reason: str) -> Hold:
    return Hold(workspace.clock.now(), actor(), reason)


def _must_be_wave(config: Config, wave: str) -> None:
    known = sorted({each.wave for each in config.mailboxes if each.wave})
    if wave not in known:
        raise UsageError(
            f"no mailbox is in a wave {wave!r}",
            remedy=f"waves are {', '.join(known)}" if known else "give mailboxes a wave in mailover.yaml",
        )


def _print(made: Plan) -> None:
    if not made.waves:
        click.echo("no wave moves by itself: cutover.waves in mailover.yaml names none", err=True)
    rows = [
        (each.name, *(each.phases[phase] for phase in Phase), len(each.skipped), each.stopped or "")
        for each in made.waves
    ]
    columns = [("wave", "left"), *((phase.value, "right") for phase in Phase), ("by hand", "right")]
    stdout().print(table([*columns, ("stopped", "left")], rows))
    for wave in made.waves:
        for address, why in wave.waiting.items():
            click.echo(f"{address}: {why}")
    click.echo(f"\n{len(made.steps)} to move now:" if made.steps else "\nNothing to move now.")
    for step in made.steps:
        click.echo(f"  {step.mailbox}: {step.phase_from} → {step.phase_to}: {step.reason}")
