"""Measurements of files and of time; not part of the installed package."""
