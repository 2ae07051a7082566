"""Every goal of speed and memory in one table: ``make bench``.

    python -m benchmarks                    everything, with 20,000 messages in each mail set: hours
    python -m benchmarks --quick            less mail; ratios that start-up costs still weigh on
    python -m benchmarks --only ingest --only mime --json

What is compared runs in turn, round by round, on the same server, mail and machine. A row's value is
the median of the rounds, its spread their smallest and largest. Exit status 1: a goal is not met.
"""

import argparse
import json
import os
import platform
import sys

from benchmarks.goals import BENCHMARKS, Result, results
from benchmarks.scale import FULL, QUICK


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def line(result: Result) -> str:
    goal, unit = result.goal, result.goal.unit
    met = "met" if result.is_met else "NOT MET"
    spread = f"{min(result.samples):.3g} to {max(result.samples):.3g}"
    return (
        f"{goal.row:24} {goal.what:50} {'>=' if goal.at_least else '<='} {goal.limit:<5g}"
        f" {result.value:7.3g} {unit:2}  {met:8} {spread}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--only", action="append", choices=names, help="this one; may be given again")
    parser.add_argument("--quick", action="store_true", help="less mail, in minutes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    found: list[Result] = []
    if not options.json:
        print(f"{scale.label}: {scale.mail} messages in each mail set, {scale.rounds} rounds; {machine()}")
    for benchmark in BENCHMARKS:
        if options.only and benchmark.name not in options.only:
            continue
        rows = results(benchmark, scale)
        found += rows
        if not options.json:
            print("\n".join(map(line, rows)), flush=True)
    if options.json:
        rows_as_json = [
            {
                "row": each.goal.row,
                "what": each.goal.what,
                "goal": each.goal.limit,
                "at_least": each.goal.at_least,
                "unit": each.goal.unit,
                "value": each.value,
                "met": each.is_met,
                "rounds": list(each.samples),
            }
            for each in found
        ]
        print(json.dumps({"scale": scale.label, "machine": machine(), "rows": rows_as_json}, indent=2))
    return 0 if all(each.is_met for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
