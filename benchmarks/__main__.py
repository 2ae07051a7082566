"""Every benchmark, one after the other: ``make bench``."""

import subprocess
import sys

for name in ("mime", "imap_fetch", "pop3_fetch", "graph", "ingest", "archive", "compaction"):
    print(f"\n== {name}\n", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
