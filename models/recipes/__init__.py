"""Recipes: TOML files that describe completely which model is trained, on what, and for how long.

They are data, not code, and ship with the package. They are checked when they are read, so that a misspelt key does not
end a run after hours.
"""
