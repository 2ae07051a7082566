"""The jobs: read every mailbox now, and ask the invariants of every mailbox."""

import dagster as dg

from assets.mail import mail

ingest_job = dg.define_asset_job(
    "ingest",
    # Checks run on their own: an asset that yields no output of its own skips what hangs on it.
    selection=dg.AssetSelection.assets(mail).without_checks(),
    description="One pass over mailboxes: the run's batch, else every configured one.",
)
check_job = dg.define_asset_job(
    "check",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Ask invariants 1, 2 and 3 of every mailbox.",
)
