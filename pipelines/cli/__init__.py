"""The ``mailover`` command: a thin layer over the functions of ``pipelines``."""

from pipelines.cli.app import main

__all__ = ["main"]
