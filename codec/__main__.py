"""``python -m codec`` is the command ``vlae``."""

from codec.commands.cli import main

if __name__ == "__main__":
    main()
