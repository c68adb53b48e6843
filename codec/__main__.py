"""``python -m codec`` is the command ``vlae``."""

from codec.cli import main

if __name__ == "__main__":
    main()
