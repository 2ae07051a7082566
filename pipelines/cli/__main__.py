"""``python -m pipelines.cli``: the command where it is not on the path."""

from pipelines.cli import main

main()
