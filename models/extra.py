"""The extra ``train``: packages that only training needs."""

from __future__ import annotations

import click


def need_extra() -> None:
    """Raise ClickException if a package of the extra ``train`` is missing."""
    try:
        import msgspec  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this needs {error.name}: pip install vlae[train]") from error
