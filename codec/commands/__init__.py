"""The command ``vlae``."""
