"""`hilum config`: every setting with its value in force, its default and what it means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from hilum.cli import options
from hilum.config import Config


def config(
    config_file: options.ConfigFile = None,
    settings: options.Overrides = None,
    verbose: options.Verbose = False,
) -> None:
    """Print every setting: its value with --config and --set, its default where that differs, and what it means."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    chosen = options.resolve_config(config_file, settings, weights=None, seed=None)
    table = Table(title="Settings, as for --set KEY=VALUE", title_justify="left", show_lines=False)
    for heading in ("Key", "Value", "Default", "Meaning"):
        table.add_column(heading, overflow="fold")
    for key, value, default, meaning in list_settings(chosen):
        before, style = ("", "") if value == default else (_write(default), "bold")
        table.add_row(key, escape(_write(value)), before, meaning, style=style)
    Console().print(table)


def list_settings(chosen: Config) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield key, value, default and meaning of every setting, section by section."""
    yield from _list(chosen, Config(), "")


def _list(chosen: BaseModel, defaults: BaseModel, prefix: str) -> Iterator[tuple[str, Any, Any, str]]:
    for name, field in type(chosen).model_fields.items():
        value, default = getattr(chosen, name), getattr(defaults, name)
        if isinstance(value, BaseModel):
            yield from _list(value, default, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, default, field.description or ""


def _write(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(_write, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
