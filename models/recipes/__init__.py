"""Recipes: files that say what is trained, on what, for how long; checked when they are read."""
