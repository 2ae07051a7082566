"""Reading mailboxes in a run of the Dagster job ``ingest``, beside calling ``pipelines`` directly.

    python -m benchmarks.dagster_job                        20 mailboxes of 1,000 messages
    python -m benchmarks.dagster_job --mailboxes 5 --messages 200 --json

Both read the same sandbox tenant, a process of its own, by IMAP, from nothing. "Work" is from the
call to its end, in a process that has loaded what it needs, with the instance's event log on disk;
"process" has the start too, which for Dagster is its own and that of its definitions. Rounds
alternate; figures are medians, ratios those of the same round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

from benchmarks.racing import scratch
from pipelines.cutover.passes import read_mailbox
from pipelines.ingest.report import Outcome
from pipelines.ingest.stages import Stage, run_stage
from pipelines.ingest.workspace import open_workspace
from tests.sandbox_fixture import RunningSandbox, running_sandbox

WAYS = ("directly", "job")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def directly() -> float:
    started = time.perf_counter()
    with open_workspace() as workspace:
        chosen = workspace.config.mailboxes
        for report in run_stage(workspace, Stage.RAW_MESSAGES, chosen, read=read_mailbox):
            assert report.outcome is Outcome.DONE, report.error
    return time.perf_counter() - started


def by_job() -> float:
    import dagster as dg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        from assets.definitions import defs
    with dg.DagsterInstance.get() as instance, open_workspace() as workspace:
        addresses = [each.address for each in workspace.config.mailboxes]
        instance.add_dynamic_partitions("mailboxes", addresses)
        job = defs.resolve_job_def("ingest")
        started = time.perf_counter()
        done = job.execute_in_process(run_config=QUIET, instance=instance)
        taken = time.perf_counter() - started
        assert done.success
        assert len(done.get_asset_materialization_events()) == 3 * len(addresses)
    return taken


def measure(way: str, sandbox: RunningSandbox) -> tuple[float, float, float]:
    """Wall seconds of the work and of the process, and the process's CPU seconds."""
    with scratch() as place:
        config = place / "mailover.yaml"
        # Relative paths are relative to the configuration: lake and index are new in each round.
        settings = sandbox.config_path.read_text()
        config.write_text(settings.replace("ca_file: ", f"ca_file: {sandbox.directory}/"))
        home = place / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        environment = {**sandbox.environment, "MAILOVER_CONFIG": str(config), "DAGSTER_HOME": str(home)}
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.dagster_job", "--way", way],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout
        with process.stdout:
            told = process.stdout.read().split()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, way
        return float(told[-1]), time.perf_counter() - started, used.ru_utime + used.ru_stime


def compare(mailboxes: int, messages: int, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """What each way took in each round, as ``measure`` gives it."""
    taken: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with scratch() as place:
        options = ["--mailboxes", str(mailboxes), "--messages", str(mailboxes * messages)]
        with running_sandbox(place / "sandbox", *options) as sandbox:
            for _ in range(rounds):
                for way in WAYS:
                    taken[way].append(measure(way, sandbox))
    return taken


def ratios(taken: dict[str, list[tuple[float, float, float]]], what: int) -> list[float]:
    """The job's to the direct call's, round by round; ``what``: work, process or CPU."""
    return [job[what] / direct[what] for job, direct in zip(taken["job"], taken["directly"], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mailboxes", type=int, default=20)
    parser.add_argument("--messages", type=int, default=1000, help="in each mailbox (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(directly() if options.way == "directly" else by_job())
        return
    taken = compare(options.mailboxes, options.messages, options.rounds)
    names = ("work", "process", "cpu")
    figures = {
        name: {way: statistics.median(each[what] for each in taken[way]) for way in WAYS}
        | {"ratio": statistics.median(ratios(taken, what))}
        for what, name in enumerate(names)
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, row in figures.items():
        print(f"{name:8} directly {row['directly']:6.2f} s  job {row['job']:6.2f} s  x{row['ratio']:5.2f}")


if __name__ == "__main__":
    main()
