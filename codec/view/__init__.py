"""The page of ``vlae view``: originals and decoded images side by side, served to this machine alone."""
