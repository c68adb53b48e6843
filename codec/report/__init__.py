"""The ledger as a page for people: pictures, charts, words."""
