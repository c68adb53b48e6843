"""The ledger: where every bit of a file went, and how many the model had promised."""
