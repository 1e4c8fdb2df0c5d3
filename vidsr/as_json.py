"""`--json`: one value on stdout, whatever becomes of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from vidsr.errors import VidsrError

F = TypeVar("F", bound=Callable[..., Any])
OWED = "vidsr.json"  # in click's meta: --json was given, and nothing is printed yet


def json_option(value: str = "value") -> Callable[[F], F]:
    """The option `--json`, whose parameter is `as_json`."""
    return click.option("--json", "as_json", is_flag=True, callback=_owe, help=f"Print one JSON {value} on stdout.")


def _owe(ctx: click.Context, option: click.Parameter, given: bool) -> bool:
    ctx.meta[OWED] = given
    return given


def print_json(value: Any) -> None:
    """Print the value of a command that was asked for JSON."""
    click.get_current_context().meta[OWED] = False
    click.echo(json.dumps(value, indent=2))


def print_json_error(error: VidsrError) -> None:
    """Print an error that ends a command, if it was asked for JSON and has printed none."""
    if click.get_current_context().meta.get(OWED):
        print_json({"error": type(error).__name__, "message": error.message, "exit_code": error.exit_code})
