import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest
from PIL import Image

from hilum.report import render
from hilum.report.render import (
    Bullets,
    Code,
    Figure,
    Finding,
    Findings,
    KeyFigure,
    KeyFigures,
    Page,
    Section,
    Severity,
    Subtitle,
    Table,
    format_cell,
    render_page,
    render_text,
)
from hilum.report.wording import count, listing, percent, sentence

pytestmark = pytest.mark.unit

VOID = {"meta", "link", "img", "br", "path", "hr", "input"}


class Outline(HTMLParser):
    """Checks that tags are nested rightly, and notes what tests ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.headings, self.images, self.ids, self.links = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "figure.png"
    Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(path, dpi=(192, 192))
    return path


def make_page(picture, **changes):
    figure = Figure(picture, title="Pictures", caption="5 < 6 & so on.", alt="Bars", wide=True)
    blocks = [
        "A paragraph with <b>no</b> markup.",
        figure,
        Table(["split", "n", "AUROC"], [["train", 5216, 0.98765], ["test", 624, None]], caption="Scores"),
        Code("a  b\nc"),
        Bullets(["first", "second"]),
        Subtitle("A part"),
        KeyFigures([KeyFigure("7", "things")]),
        Findings([Finding(Severity.NOTE, "Noted.")]),
    ]
    settings = {
        "title": "A page",
        "subtitle": "What it holds.",
        "sections": [Section("First part", blocks), Section("Second part", ["Text."])],
        "key_figures": [KeyFigure("5,840", "pictures", "all of them")],
        "findings": [Finding(Severity.WARNING, "Beware."), Finding(Severity.GOOD, "All is well.")],
        "facts": {"Data": "/data"},
        "created": datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    }
    return Page(**settings | changes)


@pytest.fixture
def text(picture, tmp_path):
    render_page("base.html.j2", tmp_path / "page.html", page=make_page(picture))
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_is_well_formed_and_its_contents_link_to_its_sections(text):
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.headings[0] == "h1"
    assert outline.headings.count("h1") == 1
    assert {"overview", "first-part", "second-part", "main"} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)


def test_a_page_needs_no_network(text):
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", text) == []
    assert "<script" not in text
    assert "@import" not in text
    assert re.findall(r"url\(", text) == []


def test_the_picture_is_embedded_with_its_alt_text_at_its_physical_size(text, picture):
    outline = Outline()
    outline.feed(text)
    (image,) = outline.images
    assert image["alt"] == "Bars"
    kind, content = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == picture.read_bytes()
    assert (image["width"], image["height"]) == ("15", "10")


def test_texts_are_escaped(text):
    assert "&lt;b&gt;no&lt;/b&gt;" in text
    assert "5 &lt; 6 &amp; so on." in text


def test_the_page_says_when_by_what_and_that_it_is_no_medical_device(text):
    assert "2024-05-01 12:30" in text
    assert "not a medical device" in text
    assert "/data" in text


def test_severities_are_said_in_words_too(text):
    assert "Warning: " in text
    assert "Good: " in text


def test_tables_set_numbers_flush_right(text):
    assert '<td class="number">5,216</td>' in text
    assert '<td class="number">0.988</td>' in text
    assert '<th scope="row" class="word">train</th>' in text


def test_a_template_that_names_something_unknown_fails_and_leaves_no_file(picture, tmp_path, monkeypatch):
    environment = render._environment().overlay(loader=jinja2.DictLoader({"bad.html.j2": "{{ missing }}"}))
    monkeypatch.setattr(render, "_environment", lambda: environment)
    with pytest.raises(jinja2.UndefinedError):
        render_page("bad.html.j2", tmp_path / "out.html", page=make_page(picture))
    with pytest.raises(jinja2.UndefinedError):
        render_text("bad.html.j2", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_a_missing_figure_is_an_error(tmp_path):
    page = make_page(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError):
        render_page("base.html.j2", tmp_path / "page.html", page=page)
    assert not (tmp_path / "page.html").exists()


def test_two_sections_of_one_title_are_refused(picture):
    with pytest.raises(ValueError, match="same title"):
        make_page(picture, sections=[Section("Part", []), Section("part", [])])


@pytest.mark.parametrize(
    ("value", "written"), [(5216, "5,216"), (0.12345, "0.123"), (None, "–"), ("", "–"), ("74.3 %", "74.3 %")]
)
def test_cells(value, written):
    assert format_cell(value) == written


def test_a_column_is_numeric_when_all_its_cells_are():
    table = Table(["a", "b", "c", "d"], [["x", 1, "0.83 (0.80–0.86)", None], ["y", None, "−0.1", None]])
    assert [table.is_numeric(column) for column in range(4)] == [False, True, True, False]


def test_wording():
    assert [count(n, "picture") for n in (0, 1, 5840)] == ["0 pictures", "1 picture", "5,840 pictures"]
    assert count(2, "class", "classes") == "2 classes"
    assert percent(0.7429) == "74.3 %"
    assert [listing(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listing(["a", "b", "c", "d"], most=2) == "a, b and 2 more"
    assert sentence(" it is so") == "It is so."
    assert sentence("Is it?") == "Is it?"
