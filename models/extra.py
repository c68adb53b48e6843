"""The extra ``train``: the packages that training needs and that people who only compress do without."""

from __future__ import annotations

import click


def need_extra() -> None:
    """Refuse to go on without the packages of the extra ``train``."""
    try:
        import msgspec  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this needs {error.name}: pip install vlae[train]") from error
