import shutil

import pytest

from hilum.data.manifest import scan
from hilum.errors import DataError, LeakageError
from hilum.research.sets import read_sets

pytestmark = pytest.mark.unit


@pytest.fixture
def elsewhere(tmp_path, draw_picture):
    """Four images of another hospital, in no split, one of them damaged."""
    for label in ("NORMAL", "PNEUMONIA"):
        for number in range(2):
            draw_picture(tmp_path / "elsewhere" / label / f"x{number}.png")
    (tmp_path / "elsewhere" / "NORMAL" / "x1.png").write_bytes(b"damaged")
    return tmp_path / "elsewhere"


@pytest.fixture
def own(kaggle_folder):
    return scan(kaggle_folder)


def test_all_labelled_readable_images_are_scored(elsewhere, own):
    (further,) = read_sets({"elsewhere": elsewhere}, own)
    assert further.labels.tolist() == [False, True, True]
    assert len(further.paths) == len(further.hashes) == 3


def test_a_set_that_names_a_test_split_is_refused(elsewhere, own, draw_picture):
    draw_picture(elsewhere / "test" / "NORMAL" / "y.png")
    with pytest.raises(DataError, match=r"names a test split for 1 of its 5 images: a study must not score test"):
        read_sets({"elsewhere": elsewhere}, own)


@pytest.mark.parametrize(("split", "message"), [("test", "a study must not score test"), ("train", "as if unseen")])
def test_images_of_the_study_itself_are_refused_under_any_name(elsewhere, own, kaggle_folder, split, message):
    image = next((kaggle_folder / split / "NORMAL").iterdir())
    shutil.copy(image, elsewhere / "NORMAL" / "renamed.jpeg")
    with pytest.raises(LeakageError, match=message):
        read_sets({"elsewhere": elsewhere}, own)


def test_a_set_without_a_usable_image_is_refused(tmp_path, own):
    (tmp_path / "none" / "NORMAL").mkdir(parents=True)
    (tmp_path / "none" / "NORMAL" / "x.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no readable image"):
        read_sets({"none": tmp_path / "none"}, own)
