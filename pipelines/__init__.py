"""The mail ETL itself: plain typed Python that knows nothing of Dagster."""
