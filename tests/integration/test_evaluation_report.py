"""Drawn radiographs, a small model fitted to them, and the whole evaluation up to the page that a person opens."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from hilum.config import EvaluateConfig
from hilum.data.images import read_picture
from hilum.data.manifest import hash_manifest, scan
from hilum.data.phantom import write_phantoms
from hilum.data.splits import build_splits, hash_splits
from hilum.errors import ImageReadError
from hilum.evaluation.background import Background, Origin
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ledger import hash_pictures
from hilum.preprocess import PreprocessSpec, resize
from hilum.report.render import Section
from hilum.types import Score, Stage

pytestmark = pytest.mark.integration

SPEC = PreprocessSpec(size=56)


def measure_cells(path):
    """Return brightness and contrast of 7 x 7 cells, (7, 7, 2)."""
    picture, _ = read_picture(path)
    cells = resize(picture, SPEC).reshape(7, 8, 7, 8).astype(np.float64) / 255
    return np.stack([cells.mean((1, 3)), cells.std((1, 3))], axis=-1)


class LogisticScorer:
    """Logistic regression on brightness and contrast of 7 x 7 cells; each cell's share of the logit is its map."""

    name = "logistic <cells>"

    def __init__(self, splits):
        train = splits[splits["split"] == "train"]
        features = np.stack([measure_cells(path) for path in train["path"]])
        self.mean, self.deviation = features.mean(0), features.std(0) + 1e-6
        scaled = ((features - self.mean) / self.deviation).reshape(len(train), -1)
        model = LogisticRegression(C=0.01).fit(scaled, train["label"] == "PNEUMONIA")
        self.weights, self.bias = model.coef_.reshape(7, 7, 2), float(model.intercept_[0])

    def describe(self):
        return {"Network": "Logistic regression on cells", "Initial weights": "zero", "Seed": "0"}

    def describe_runtime(self):
        return {"device": "cpu", "precision": "float64"}

    def score(self, paths):
        for path in paths:
            try:
                scaled = (measure_cells(path) - self.mean) / self.deviation
            except ImageReadError as error:
                yield error
                continue
            cam = 49 * (scaled * self.weights).sum(-1)
            yield Score(float(cam.mean()) + self.bias, cam.astype(np.float32))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    data = write_phantoms(folder / "data", patients=80, size=96, seed=2)
    (data / "test" / "NORMAL" / "IM-9999-0001.jpeg").write_bytes(b"cut short")
    manifest = scan(data)
    splits = build_splits(manifest, val_fraction=0.25, seed=0)
    curves = folder / "curves.png"
    Image.new("RGB", (90, 60), "white").save(curves)
    background = Background(
        data="eighty phantoms",
        command="hilum evaluate RUN data --out evaluation",
        origin=Origin.PHANTOM,
        stages=[Stage("cells", "input", (2, 7, 7), 0), Stage("sum", "linear", (1,), 99, detail="weighted sum")],
        learning_curves=curves,
        training={"Fitted in": "0.1 s"},
        metadata_auroc=0.51,
        sections=[Section("What the data are", ["A section of the caller."])],
    )
    result = evaluate(
        LogisticScorer(splits),
        splits,
        folder / "out",
        config=EvaluateConfig(bootstrap=200, worst=6),
        seed=0,
        manifest=manifest,
        background=background,
    )
    return result, manifest, splits


class PageReader(HTMLParser):
    """Collects what the tests look at: visible text, addresses, pictures, and tags left open."""

    def __init__(self):
        super().__init__()
        self.text, self.addresses, self.pictures, self.open, self.ids = [], [], [], [], set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if tag == "img":
            self.pictures.append(attributes)
        if tag not in {"img", "meta", "link", "br", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "path":
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(evaluated):
    reader = PageReader()
    reader.feed(evaluated[0].report.read_text())
    return reader


def read_text(page):
    return re.sub(r"\s+", " ", " ".join(page.text))


def test_page_is_self_contained_and_whole(page):
    assert page.open == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= page.ids


def test_page_shows_every_figure_with_a_text_for_those_who_cannot_see_it(evaluated, page):
    drawn = list((evaluated[0].out / "figures").glob("*.png"))
    assert len(page.pictures) == len(drawn) + 1  # and the learning curves of the caller
    assert all(len(picture["alt"]) > 30 for picture in page.pictures)


def test_page_shows_the_numbers_of_metrics_json(evaluated, page):
    metrics, text = evaluated[0].metrics, read_text(page)
    for name, digits in (("auroc", 3), ("brier", 3), ("ece", 3), ("mcc", 3)):
        assert f"{metrics['metrics'][name]['value']:.{digits}f}" in text
    for name in ("accuracy", "recall", "specificity"):
        assert f"{metrics['metrics'][name]['value']:.1%}".replace("%", " %").replace("100.0", "100") in text
    confusion = metrics["confusion_matrix"]
    assert f"finds {confusion['tp']} of {confusion['tp'] + confusion['fn']} pneumonias" in text
    assert f"{metrics['threshold']:.3f}" in text


def test_page_says_what_it_must(page):
    text = read_text(page)
    for words in (
        "drawn by a program",
        "not a medical device",
        "1 picture of test could not be scored",
        "A section of the caller.",
        "eighty phantoms",
        "hilum evaluate RUN data --out evaluation",
        "Fitted in",
        "99 parameters",
        "File metadata alone separate the classes of this split with an AUROC of 0.510",
    ):
        assert words in text, words
    assert "logistic <cells>" in text  # escaped in the source, so that it is read and not obeyed
    assert not re.search(r"\b(None|nan|NaN|inf)\b", text)
    assert "{" not in text


def test_unreadable_picture_stands_in_its_place(evaluated):
    result, manifest, _ = evaluated
    rows = result.predictions
    test = manifest[manifest["split"] == "test"]
    assert rows["path"].tolist() == test["path"].tolist()
    failed = rows[rows["status"] != "ok"]
    assert failed["path"].str.endswith("IM-9999-0001.jpeg").tolist() == [True]
    assert failed["message"].str.len().min() > 0
    assert result.failed == 1
    assert result.metrics["n"] == len(test) - 1


def test_provenance_names_the_very_data(evaluated, page):
    result, manifest, splits = evaluated
    hashes = {"manifest": hash_manifest(manifest), "splits": hash_splits(splits)}
    test = splits[splits["split"] == "test"]
    hashes["test"] = hash_pictures(test["sha256"])
    assert result.metrics["hashes"] == hashes
    for digest in hashes.values():
        assert digest in read_text(page)


def test_model_card_is_sound_markdown_with_the_same_numbers(evaluated):
    result = evaluated[0]
    card = (result.out / "model_card.md").read_text()
    assert card.startswith("# Model card: logistic <cells>\n")
    headings = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    expected = ("Model details", "Intended use", "Data", "Metrics", "What must not be concluded", "Provenance")
    assert [heading for heading in headings if heading in expected] == list(expected)
    assert f"{result.metrics['metrics']['auroc']['value']:.3f}" in card
    assert repr(result.point.threshold) in card
    assert "\n\n\n" not in card
    assert not re.search(r"\b(None|nan)\b", card)
    for table in re.findall(r"(?:^\|.*\|\n)+", card, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_classification_report_is_that_of_scikit_learn(evaluated):
    text = (evaluated[0].out / "classification_report.txt").read_text()
    assert re.search(r"precision +recall +f1-score +support", text)
    assert re.search(r"PNEUMONIA( +\d\.\d{3}){3} +\d+", text)


def test_figures_of_the_report_are_pictures(evaluated):
    for path in (evaluated[0].out / "figures").glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 200, path.name
            picture.verify()
