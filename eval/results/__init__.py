"""From the ledger of a run to scores, causes of failures, statistics and files."""
