"""What Dagster shows and runs: thin, one function of ``pipelines`` behind each asset."""
