"""The jobs: read every mailbox now, and ask the invariants of every mailbox."""

import dagster as dg

from assets.checks import ask_every_mailbox
from assets.mail import mail

ingest_job = dg.define_asset_job(
    "ingest",
    # Checks run on their own: an asset that yields no output of its own skips what hangs on it.
    selection=dg.AssetSelection.assets(mail).without_checks(),
    description="One pass over mailboxes: the run's batch, else every configured one.",
)


@dg.job(name="check", description="Ask every check of every mailbox.")
def check_job() -> None:
    """An op, not a selection of checks: partitioned checks give no result in a run without a partition."""
    ask_every_mailbox()
