"""Errors of training. The message of each is one line, which says what happened and what to do."""

from __future__ import annotations

from codec.errors import CodecError


class TrainingError(CodecError):
    """Training cannot go on: an image cannot be read, or a checkpoint cannot be written."""


class RecipeError(TrainingError, ValueError):
    """A recipe or an option is wrong: a key, a type, a folder that is missing, or the checkpoint of another recipe."""
