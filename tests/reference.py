"""The parts of docs/ that are made from the code. `python -m tests.reference` writes them anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

import vidsr.errors
from vidsr.cli import main
from vidsr.errors import SALVAGED, VidsrError

DOCS = Path(__file__).resolve().parents[1] / "docs"


def commands(command: click.Command = main, name: str = "vidsr") -> Iterator[tuple[str, str]]:
    """Each command's full name and its help text, the group itself first."""
    context = click.Context(command, info_name=name, terminal_width=100, **main.context_settings)
    yield name, inspect.cleandoc(command.get_help(context))
    if isinstance(command, click.Group):
        for short, inner in sorted(command.commands.items()):
            yield from commands(inner, f"{name} {short}")


def commands_page(page: str) -> str:
    """docs/commands.md with every help text as it is now; a command without a heading gets one at the end."""
    for name, text in commands():
        block = f"<!-- help: {name} -->\n```text\n{text}\n```"
        pattern = re.compile(rf"<!-- help: {re.escape(name)} -->\n```text\n.*?\n```", re.DOTALL)
        if pattern.search(page):
            page = pattern.sub(block.replace("\\", r"\\"), page)
        else:
            page = f"{page.rstrip()}\n\n## {name}\n\n{block}\n"
    return page


def errors_table() -> str:
    """The exit codes as a Markdown table."""
    rows = [(0, "", "The result is complete and was verified.")]
    rows.append((SALVAGED, "", "There is a result, made of what could be read of a damaged source."))
    for name, kind in vars(vidsr.errors).items():
        if inspect.isclass(kind) and issubclass(kind, VidsrError):
            rows.append((kind.exit_code, f"`{name}`", (inspect.getdoc(kind) or "").splitlines()[0]))
    lines = ["| exit code | error | meaning |", "|---|---|---|"]
    return "\n".join(lines + [f"| {code} | {name} | {meaning} |" for code, name, meaning in sorted(rows)])


def errors_page(page: str) -> str:
    """docs/errors.md with the table as it is now."""
    head, _, rest = page.partition("<!-- table -->\n")
    tail = rest.partition("<!-- end -->")[2]
    return f"{head}<!-- table -->\n{errors_table()}\n<!-- end -->{tail}"


PAGES = {"commands.md": commands_page, "errors.md": errors_page}

if __name__ == "__main__":
    for file, build in PAGES.items():
        (DOCS / file).write_text(build((DOCS / file).read_text(encoding="utf-8")), encoding="utf-8")
