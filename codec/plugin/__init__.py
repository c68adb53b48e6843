"""The plugin for Pillow: `PIL.Image.open` and ``Image.save`` read and write our files."""
