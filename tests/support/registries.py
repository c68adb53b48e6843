"""Pillow's registries of formats, which are global."""

from PIL import Image


def restored(monkeypatch):
    """Let a test register formats with Pillow. After it, Pillow knows those that it knew before."""
    Image.init()  # else a test might do so, and its registries would be lost
    for name in ("ID", "OPEN", "SAVE", "EXTENSION", "MIME"):
        monkeypatch.setattr(Image, name, getattr(Image, name).copy())
