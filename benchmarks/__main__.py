"""Every benchmark, one after the other: ``make bench``."""

import subprocess
import sys

NAMES = (
    "mime", "imap_fetch", "pop3_fetch", "graph", "ingest", "archive", "switch", "compaction",
)  # fmt: skip
for name in NAMES:
    print(f"\n== {name}\n", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
