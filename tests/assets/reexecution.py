"""A job that Dagster can make anew by its name, as a re-execution needs it."""

import dagster as dg

from assets.definitions import defs


def ingest() -> dg.JobDefinition:
    return defs.resolve_job_def("ingest")
