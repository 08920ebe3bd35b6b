"""From a ledger to figures: scores, causes of failures, tables of numbers, files."""
