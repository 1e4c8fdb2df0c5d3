"""Self-contained HTML pages, of `vidsr compare` and of folder jobs, from templates with {{PLACES}}."""

from __future__ import annotations

import html
import re
from importlib.resources import files

# Colours, light and dark, and the text of every page.
STYLE = """\
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --ink: #1b1e24; --faint: #5d6573; --line: #d9dde4;
  --accent: #1f5fd0; --on-accent: #fff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1d2026; --ink: #e9ecf1; --faint: #9aa3b2; --line: #333944;
    --accent: #7fb0ff; --on-accent: #10131a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }"""


def fill_page(package: str, template: str, title: str, data: str, **texts: str) -> str:
    """A page.

    Args:
        package: where the template lies.
        template: its file's name.
        title: for TITLE.
        data: JSON text for DATA, which the page's script reads.
        texts: for all other places, as they are.
    """
    # No name within the data may end the script's element.
    values = {"TITLE": html.escape(title), "STYLE": STYLE, "DATA": data.replace("<", "\\u003c"), **texts}
    text = files(package).joinpath(template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], text)
