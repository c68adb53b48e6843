"""Importing this module makes Pillow open and save ``.vlae`` files, as `codec.register_opener` does."""

import codec

codec.register_opener()
