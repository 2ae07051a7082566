"""The configuration file that ``mailover init`` writes."""

import os
from pathlib import Path

from pipelines.errors import UsageError

STARTER = """\
# Mailover's configuration. Relative paths start at this file's folder.
# Every key is explained in docs/configuration.md; `mailover doctor` tries all of it.

tenant:
  # From the overview page of the app registration in Entra.
  id: 00000000-0000-0000-0000-000000000000          # Directory (tenant) ID
  client_id: 00000000-0000-0000-0000-000000000000   # Application (client) ID
  credential:
    # The NAME of an environment variable; the secret itself never stands in this file.
    secret_env: MAILOVER_CLIENT_SECRET
    # Or a certificate: one PEM file with certificate and private key.
    # certificate: {path: app.pem, passphrase_env: MAILOVER_KEY_PASSPHRASE}
  # cloud: public                                   # public | us-gov-high | us-gov-dod | china
  # requests_per_second: 100                        # of Graph, over all mailboxes of a process
  # endpoints:                                      # a proxy, a sandbox, a test
  #   authority: https://localhost:8443
  #   graph: https://localhost:8443/v1.0
  #   imap: localhost:9993                          # TLS from the first byte
  #   pop3: localhost:9995
  #   ca_file: ca.pem                               # a private CA

storage:
  lake: ./lake                                      # a folder, or s3:// gs:// abfss://
  index: sqlite:///mailover.db                      # or postgresql://user@host/database

# ingest:
#   batch_bytes: 16 MiB                             # held in memory before a batch is written
#   concurrency: 4                                  # mailboxes read at the same time
#   mailboxes_per_run: 100                          # that Dagster's schedule hands to one run

# cutover:
#   compare: listing                                # listing | sample 5% | full
#   waves: [pilot, everyone]                        # move by themselves, in this order
#   clean_parities: 3                               # in a row, before a mailbox moves by itself
#   at_once: 20                                     # mailboxes moved in one go
#   hours: "20:00-06:00"                            # when they may move, in UTC
#   trailing_days: 14                               # the legacy view is still compared so long
#   rollback_after: 8                               # failed passes in a row, then back by itself

mailboxes:
  - address: kim.akers@contoso.com
    legacy: imap                                    # imap | pop3; leave it out to start on Graph
    # wave: pilot                                   # the group it moves to Graph with
    # folders:                                      # without: every visible mail folder
    #   include: [inbox, Projects]                  # roles or paths, each with all below it
    #   exclude: ["Deleted Items", junk]
    #   hidden: false
"""


def write_starter_config(path: Path) -> None:
    """Write a commented configuration to ``path``, readable by its owner only.

    Raises ``UsageError`` rather than overwrite a file, and where the folder is not there.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} is already there", remedy="edit it, or name another file with --config"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            remedy="name a file in a folder that is yours to write",
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(STARTER)
