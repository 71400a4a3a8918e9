"""Self-contained HTML pages: what a page holds as plain dataclasses, and the Jinja2 renderer that writes it.

A page needs no network to be read: style and pictures are inside the file. Every text is escaped. A template that
names something unknown fails instead of leaving a gap.

    curves = Section("Curves", ["A paragraph.", Figure(path, title="...", caption="...", alt="...")])
    page = Page(title="...", subtitle="...", sections=[curves])
    render_page("eda.html.j2", out / "eda.html", page=page)

`base.html.j2` draws a `Page` whole; another template extends it and fills its blocks (`lead`, `content`, `closing`)
where it has more to say. Macros for single parts are in `parts.html.j2`.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import jinja2
from PIL import Image

from hilum import __version__
from hilum.files import write_text

Cell = str | int | float | None


class Severity(StrEnum):
    """How much a finding matters to a reader."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence worth knowing, with how much it matters."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number on a card: `value` as it is to be read ("5,840"), what it is, and a small note under it."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture file (PNG, JPEG or WebP) that is embedded.

    `caption` says what it shows on these data; `alt` stands in for the picture where it cannot be seen. Figures stand
    two abreast on wide screens unless `wide`.
    """

    kind: ClassVar[str] = "figure"
    path: Path
    title: str
    caption: str
    alt: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Whole numbers get thousands separators, floats three decimals, None a dash; texts stay as they are.

    It takes the width of the page unless `half`: then it stands beside a figure.
    """

    kind: ClassVar[str] = "table"
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    half: bool = False

    def is_numeric(self, column: int) -> bool:
        """Return whether a column holds figures, which are set flush right."""
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(not isinstance(c, str) or re.match(r"[-−+<≥≤]?\s?[\d–]", c) for c in cells)


@dataclass(frozen=True, slots=True)
class Code:
    """Text in a typewriter face with its line breaks kept, such as a classification report."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A bulleted list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings inside a section; a page has its own at the top."""

    kind: ClassVar[str] = "findings"
    items: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """Cards of key figures inside a section; a page has its own at the top."""

    kind: ClassVar[str] = "key_figures"
    items: Sequence[KeyFigure]


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A heading inside a section."""

    kind: ClassVar[str] = "subtitle"
    text: str


# A plain str is a paragraph.
Block = str | Figure | Table | Code | Bullets | Findings | KeyFigures | Subtitle


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page, listed in its table of contents under `title`. `anchor` is made from the title."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Return the id that links to the section."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Page:
    """All that a page shows, from top to bottom.

    `subtitle` is one sentence under the title; `facts` are small name-value pairs in the header (data, seed, ...), to
    which date and version are added; section titles must differ.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    key_figures: Sequence[KeyFigure] = ()
    findings: Sequence[Finding] = ()
    facts: Mapping[str, str] | None = None
    created: datetime | None = None

    def __post_init__(self) -> None:
        anchors = [section.anchor for section in self.sections]
        if len(set(anchors)) < len(anchors):
            raise ValueError(f"two sections of the page {self.title!r} have the same title")


def render_page(template: str, path: Path, *, page: Page, **context: object) -> None:
    """Write `page` to `path` as one self-contained HTML file, atomically.

    `template` is a name in hilum/report/templates; `context` adds names for a template that wants more than the page.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not given.
        OSError: a figure's file is missing, or the page cannot be written.
    """
    created = page.created or datetime.now().astimezone()
    text = _environment().get_template(template).render(page=page, created=created, version=__version__, **context)
    write_text(path, text)


def render_text(template: str, path: Path, **context: object) -> None:
    """Write a text that is not HTML (a template named *.md.j2 or *.txt.j2, nothing escaped), atomically."""
    text = _environment().get_template(template).render(version=__version__, **context)
    write_text(path, text)


def embed_picture(path: Path) -> str:
    """Return a picture file as a data URI."""
    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}[path.suffix.lower()]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def format_cell(value: Cell) -> str:
    """Write a table's cell: 5216 as 5,216, 0.8333 as 0.833, None as a dash, texts unchanged."""
    if value is None or value == "":
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def write_markdown_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Write a table in GitHub's Markdown; a bar inside a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *([format_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _picture_size(path: Path) -> tuple[int, int]:
    """Return the size at which a picture is shown, in CSS pixels: as large as its resolution says, 96 to the inch."""
    with Image.open(path) as picture:
        across, down = picture.info.get("dpi", (96, 96))
        return round(picture.width * 96 / float(across)), round(picture.height * 96 / float(down))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hilum.report"),
        autoescape=lambda name: name is None or not name.endswith((".md.j2", ".txt.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["embed"] = embed_picture
    environment.filters["size"] = _picture_size
    environment.filters["cell"] = format_cell
    return environment
