"""``mailover report``."""

from pathlib import Path

import click

from pipelines.cli.output import json_option, print_json
from pipelines.cutover.report_data import gather
from pipelines.cutover.report_page import write_report
from pipelines.ingest.workspace import open_workspace


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("mailover-report.html"),
    show_default=True,
    help="The file to write.",
)
@json_option
@click.pass_obj
def report(config: Path | None, output: Path, as_json: bool) -> None:
    """Write one page of HTML: phases, waves, parity, lag, quarantine, what needs a person."""
    with open_workspace(config) as workspace:
        data = gather(workspace)
    write_report(data, output)
    if as_json:
        print_json(
            {
                "path": str(output.absolute()),
                "phases": data.phases,
                "grades": data.grades,
                "needs_a_person": len(data.needed),
            }
        )
    else:
        click.echo(f"{output.absolute()}")
