import matplotlib as mpl
import pytest
from PIL import Image

from hilum.report.style import COLOURS, DPI, HALF_WIDTH, draw_figure, label_bars, show_picture
from hilum.types import Label, Pathogen, Split

pytestmark = pytest.mark.unit


def test_a_figure_has_the_size_and_resolution_that_were_asked_for(tmp_path):
    with draw_figure(tmp_path / "figures" / "a.png", width=HALF_WIDTH, height=2) as figure:
        figure.subplots().plot([0, 1], [0, 1])
    with Image.open(tmp_path / "figures" / "a.png") as picture:
        assert picture.size == (round(HALF_WIDTH * DPI), 2 * DPI)
        assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)


def test_a_failing_drawing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), draw_figure(tmp_path / "a.png"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_equal_figures_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        with draw_figure(tmp_path / name) as figure:
            axes = figure.subplots()
            label_bars(axes, axes.bar(["NORMAL"], [3], color=COLOURS[Label.NORMAL]), ["3"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_settings_of_matplotlib_are_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    with draw_figure(tmp_path / "a.png") as figure:
        figure.subplots()
        assert mpl.rcParams["axes.spines.top"] is False
    assert dict(mpl.rcParams) == before


def test_a_picture_is_shown_in_the_range_of_8_bit_gray_with_its_frame(tmp_path, rng):
    with draw_figure(tmp_path / "a.png") as figure:
        axes = figure.subplots()
        image = show_picture(axes, rng.integers(90, 110, (8, 8)), frame="#0072B2", title="IM/1")
        assert image.get_clim() == (0, 255)
        assert axes.get_title() == "IM/1"
        assert all(spine.get_visible() for spine in axes.spines.values())


def test_every_class_pathogen_and_split_has_a_colour_of_its_own():
    names = [*Label, *Pathogen, *Split]
    assert len({COLOURS[name] for name in names}) == len(names)
