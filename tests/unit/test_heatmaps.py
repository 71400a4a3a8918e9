import numpy as np
import pytest
from PIL import Image

from hilum.inference.heatmaps import name_heatmap, write_heatmaps
from hilum.types import Label, Prediction, Status

pytestmark = pytest.mark.unit


def predict(source, *, status=Status.OK):
    return Prediction(
        source,
        status,
        probability=0.9,
        logit=2.0,
        prediction=Label.PNEUMONIA,
        threshold=0.5,
        cam=np.full((2, 2), 4, dtype=np.float32),
        picture=np.full((50, 60), 90, dtype=np.uint8),
    )


@pytest.mark.parametrize(
    "source",
    [
        "../../x.png",
        "/etc/passwd",
        "a.zip!/../../x.png",
        "C:\\windows\\x.png",
        "..",
        ".",
        "",
        "x/.png",
        "肺" * 300 + ".png",
        "con.png",
        "a b\tc.png",
        "-rf.png",
        "~/x",
        "x" * 5000,
    ],
)
def test_names_stay_in_their_folder(tmp_path, source):
    name = name_heatmap(source)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert len(name.encode()) < 200
    assert not name.startswith(".")
    assert name.endswith(".png")
    (tmp_path / name).touch()


def test_names_are_stable_and_tell_pictures_apart():
    assert name_heatmap("a/IM-1.jpeg") == name_heatmap("a/IM-1.jpeg")
    assert name_heatmap("a/IM-1.jpeg").startswith("IM-1-")
    sources = ["a/x.png", "b/x.png", "a/x.jpg", "x.png", "a/X.png", "a_x.png"]
    assert len({name_heatmap(source).lower() for source in sources}) == len(sources)


def test_heat_maps_are_there_when_their_prediction_is_yielded(tmp_path):
    given = [predict(f"{index}.png") for index in range(9)]
    seen = []
    for prediction in write_heatmaps(iter(given), tmp_path / "maps", full_scale=10.0, threads=2):
        seen.append(prediction.source)
        with Image.open(tmp_path / "maps" / name_heatmap(prediction.source)) as image:
            assert image.format == "PNG"
            colours = np.asarray(image.convert("RGB")).astype(int)
        assert (colours.max(-1) - colours.min(-1)).max() > 20
        assert prediction.picture is None
    assert seen == [prediction.source for prediction in given]
    assert len(list((tmp_path / "maps").iterdir())) == 9


def test_only_accepted_radiographs_get_one(tmp_path):
    given = [
        predict("a.png", status=Status.NOT_CHEST_XRAY),
        Prediction("b.png", Status.UNREADABLE, message="b.png is empty (0 bytes)."),
    ]
    assert [p.source for p in write_heatmaps(given, tmp_path, full_scale=10.0)] == ["a.png", "b.png"]
    assert list(tmp_path.iterdir()) == []


def test_a_heat_map_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / name_heatmap("a.png")).mkdir()
    with pytest.raises(OSError, match="a-"):
        list(write_heatmaps([predict("a.png")], tmp_path, full_scale=10.0))
