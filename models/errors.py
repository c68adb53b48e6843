"""Errors of training: each is one line that says what happened, and what to do."""

from __future__ import annotations

from codec.errors import CodecError


class TrainingError(CodecError):
    """Training cannot go on: material cannot be read, or a checkpoint cannot be written."""


class RecipeError(TrainingError, ValueError):
    """A recipe, or what is asked for beside it, is wrong: a key, a type, a folder, another recipe's checkpoint."""
