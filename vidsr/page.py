"""Self-contained HTML pages, of `vidsr compare` and of folder jobs, from templates with {{PLACES}}."""

from __future__ import annotations

import html
import re
from importlib.resources import files


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
    values = {"TITLE": html.escape(title), "DATA": data.replace("<", "\\u003c"), **texts}
    text = files(package).joinpath(template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], text)
