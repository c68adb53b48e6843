"""Recipes: TOML files that say what is trained, on what, for how long.

They are the whole description of a model, so they are data and not code, ship with the package, and are checked when
they are read: a run of hours must not end with a misspelt key.
"""
