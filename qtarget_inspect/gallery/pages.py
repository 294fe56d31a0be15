"""The gallery's two pages, index.html and README.md, from the scripts' own texts."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from qtarget_inspect.gallery.rendering import rendered_files, stale_files
from qtarget_inspect.gallery.scripts import Script

RENDERED = "rendered"
"""The folder of rendered files, beside the pages."""

INTRODUCTION = (
    "A course in pictures: what fine-tuning losses teach, from cross-entropy to a real model. Each picture is drawn by "
    "a script of at most 40 lines, with one idea, that can be pasted into a notebook."
)


def write_pages(scripts: Sequence[Script], folder: Path) -> list[Path]:
    """Write both pages, beside copies of the scripts where these lie elsewhere, and remove files whose script is gone.

    Args:
        scripts: all there are; those without rendered files are not shown.
        folder: holds the pages, and the rendered files in `rendered/`.

    Returns:
        The files that were removed.
    """
    stale = stale_files(folder / RENDERED, scripts)
    for path in stale:
        path.unlink()
    shown = [script for script in scripts if all(map(Path.is_file, rendered_files(folder / RENDERED, script)))]
    for script in shown:
        if script.path.resolve().parent != folder.resolve():
            shutil.copy(script.path, folder)
    (folder / "index.html").write_text(index_page(shown), encoding="utf-8")
    (folder / "README.md").write_text(readme_page(shown), encoding="utf-8")
    return stale


def index_page(scripts: Sequence[Script]) -> str:
    """The page that is opened from disk: thumbnails by chapter, with texts, links and code.

    Args:
        scripts: those to show, in order.

    Returns:
        HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"prose": _prose, "words": _words, "anchor": _anchor}
    page = environment.get_template("index.html.jinja")
    return page.render(chapters=chapters(scripts), introduction=INTRODUCTION, rendered=RENDERED)


def readme_page(scripts: Sequence[Script]) -> str:
    """The page that a code host shows: two thumbnails a row, with title and first sentence.

    Args:
        scripts: those to show, in order.

    Returns:
        Markdown.
    """
    lines = [
        "# Gallery",
        "",
        INTRODUCTION,
        "",
        "`index.html` shows the same with more words, larger pictures and the code; it works opened from disk.",
        "`make gallery` draws everything anew.",
    ]
    for chapter, members in chapters(scripts):
        lines += ["", f"## {chapter}", ""]
        for row, pair in enumerate(members[at : at + 2] for at in range(0, len(members), 2)):
            lines.append(_row([_thumbnail(script) for script in pair]))
            if row == 0:
                lines.append(_row(["---"] * len(pair)))
            lines.append(
                _row([
                    f"**[{script.number} {script.title}]({script.path.name})**<br>{script.summary}" for script in pair
                ])
            )
    return "\n".join(lines) + "\n"


def chapters(scripts: Sequence[Script]) -> list[tuple[str, list[Script]]]:
    """Scripts by chapter, in their order.

    Args:
        scripts: in order; those of a chapter stand together.

    Returns:
        Chapter and its scripts.
    """
    return [(chapter, list(members)) for chapter, members in groupby(scripts, key=lambda script: script.chapter)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _thumbnail(script: Script) -> str:
    image = f'<img src="{RENDERED}/{script.name}.png" width="440" alt="{html.escape(_words(script.summary))}">'
    return f"[{image}]({RENDERED}/{script.name}.svg)"


def _prose(markdown: str) -> object:
    """Markdown of the scripts (escaped stars, code between backticks, bold) as HTML."""
    from markupsafe import Markup

    text = html.escape(markdown.replace("\\*", "\N{ASTERISK OPERATOR}"), quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return Markup(text.replace("\N{ASTERISK OPERATOR}", "*"))


def _words(markdown: str) -> str:
    """Markdown of the scripts as plain words, for alt texts."""
    return markdown.replace("\\*", "*").replace("`", "").replace("**", "")


def _anchor(chapter: str) -> str:
    return re.sub(r"[^a-z]+", "-", chapter.lower()).strip("-")
