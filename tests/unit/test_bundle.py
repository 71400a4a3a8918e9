import json

import pytest

from hilum.bundle import (
    PACKAGED,
    BundleSpec,
    GateSpec,
    NetworkFormat,
    OperatingPointSpec,
    ParitySpec,
    Precision,
    ProvenanceSpec,
    WeightsSpec,
    is_bundle,
    list_seen,
    packaged_bundle,
    read_bundle,
    read_seen,
    resolve_bundle,
    write_bundle,
    write_seen,
)
from hilum.errors import BundleError, HilumError
from hilum.preprocess import PreprocessSpec

pytestmark = pytest.mark.unit


def build_spec(**changes):
    content = {
        "name": "test",
        "version": "3",
        "created": "2026-01-02T03:04:05+00:00",
        "preprocess": PreprocessSpec(size=64, mean=(0.1, 0.2, 0.3)),
        "precision": Precision.INT8,
        "format": NetworkFormat.OPENVINO,
        "temperature": 1.5,
        "operating_points": {
            name: OperatingPointSpec(
                threshold=threshold, rule=name, chosen_on="val", n=10, sensitivity=0.9, specificity=0.8
            )
            for name, threshold in (("youden", 0.4), ("sensitivity-95", 0.2))
        },
        "default_operating_point": "youden",
        "training_prior": 0.74,
        "heatmap_full_scale": 12.0,
        "gate": GateSpec(method="knn", n_train=20, n_val=10),
        "metrics": {},
        "parity": ParitySpec(
            n=10,
            auroc_trained=0.9,
            auroc_exported=0.9,
            max_logit_difference=0.1,
            mean_logit_difference=0.01,
            changed_verdicts=0,
            changed_after_refit=0,
        ),
        "provenance": ProvenanceSpec(
            run="run",
            manifest_hash="a",
            splits_hash="b",
            model_hash="0" * 64,
            weights=WeightsSpec(name="random", sha256="", licence="none"),
            packages={"hilum": "0"},
            git_commit=None,
            seed=0,
        ),
        "licence": "MIT",
        "files": {},
    }
    return BundleSpec(**{**content, **changes})


NAMES = ("network.xml", "network.bin", "gate.npz", "model_card.md")


@pytest.fixture
def sources(tmp_path):
    files = {name: tmp_path / f"source-{name}" for name in NAMES}
    for name, file in files.items():
        file.write_text(f"content of {name}")
    return files


@pytest.fixture
def bundle(tmp_path, sources):
    return write_bundle(tmp_path / "bundle", build_spec(), sources)


def edit(bundle, **changes):
    path = bundle.folder / "bundle.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "checksum": None, **changes}))


def test_what_was_written_is_read_back(bundle):
    read = read_bundle(bundle.folder)
    assert read == bundle
    assert set(read.spec.files) == set(NAMES)
    assert read.spec.model_copy(update={"files": {}, "checksum": None}) == build_spec()
    assert read.network.read_text() == "content of network.xml"
    assert read.gate == bundle.folder / "gate.npz"
    assert read.spec.operating_point.threshold == 0.4
    assert read.choose_operating_point("sensitivity-95").threshold == 0.2
    with pytest.raises(BundleError, match="no operating point nonsense; it has youden, sensitivity-95"):
        read.choose_operating_point("nonsense")


def test_the_folder_can_be_moved(bundle, tmp_path):
    moved = bundle.folder.rename(tmp_path / "elsewhere")
    assert read_bundle(moved).spec == bundle.spec


def test_an_altered_entry_is_noticed(bundle):
    path = bundle.folder / "bundle.json"
    path.write_text(path.read_text().replace('"temperature": 1.5', '"temperature": 15'))
    with pytest.raises(BundleError, match=r"bundle.json was altered after it was written .* hilum recalibrate"):
        read_bundle(bundle.folder)
    edit(bundle)
    assert read_bundle(bundle.folder).spec.temperature == 15  # bundles of before have no checksum


def test_pictures_that_a_bundle_has_seen_are_known_again(tmp_path, sources):
    write_seen(tmp_path / "seen", ["b" * 64, "a" * 64, "b" * 64, "c" * 16])
    assert (tmp_path / "seen").read_text() == f"{'a' * 16}\n{'b' * 16}\n{'c' * 16}\n"
    bundle = write_bundle(tmp_path / "bundle", build_spec(), {**sources, "seen.txt": tmp_path / "seen"})
    assert list_seen(bundle, ["d" * 64, "b" * 64, "c" * 64, ""]) == [False, True, True, False]
    without = write_bundle(tmp_path / "without", build_spec(), sources)
    assert read_seen(without) == frozenset()
    (tmp_path / "wrong").write_text("a" * 15)
    wrong = write_bundle(tmp_path / "wrong-bundle", build_spec(), {**sources, "seen.txt": tmp_path / "wrong"})
    with pytest.raises(BundleError, match="no list of shortened hashes"):
        read_seen(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_an_altered_file_is_named(bundle, name):
    file = bundle.folder / name
    file.write_text(file.read_text().replace("o", "0", 1))
    with pytest.raises(BundleError, match=rf"{name} is not the file that the bundle was written with"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(bundle, name):
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=f"lacks its file {name}"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("version", [3, 0, "1", None])
def test_another_schema_version_is_refused(bundle, version):
    edit(bundle, schema_version=version)
    with pytest.raises(BundleError, match=r"has schema version .* this Hilum reads versions 1 to 2"):
        read_bundle(bundle.folder)


def test_an_unknown_key_is_refused_at_any_depth(bundle):
    edit(bundle, surprise=1)
    with pytest.raises(BundleError, match="surprise is not known"):
        read_bundle(bundle.folder)
    spec = json.loads(bundle.spec.model_dump_json())
    edit(bundle, **{**spec, "gate": {**spec["gate"], "run": "this"}, "surprise": 1})
    with pytest.raises(BundleError, match=r"gate\.run is not known"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"temperature": 0}, "temperature"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"training_prior": 1.0}, "training_prior"),
        ({"labels": ["PNEUMONIA", "NORMAL"]}, "labels.0"),
        ({"precision": "int4"}, "precision"),
        ({"default_operating_point": "none"}, "it"),
        ({"preprocess": {"size": 3}}, "preprocess.size"),
        ({"files": {"network.xml": "12"}}, "files.network.xml"),
    ],
)
def test_a_value_that_does_not_fit_is_named(bundle, changes, where):
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=f"cannot be used: {where} does not fit"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    "name", ["../network.xml", "/etc/passwd", "a/b", "..", ".", "", "..\\x", "C:x", "a\\b", "bundle.json"]
)
def test_names_that_lead_out_of_the_folder_are_refused(bundle, name):
    edit(bundle, files={**bundle.spec.files, name: "0" * 64})
    with pytest.raises(BundleError, match="is not the plain name of a file"):
        read_bundle(bundle.folder)


def test_a_network_that_is_not_listed_is_not_trusted(bundle):
    edit(bundle, files={name: digest for name, digest in bundle.spec.files.items() if name != "network.bin"})
    with pytest.raises(BundleError, match=r"names no network\.bin"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_broken_description_is_one_sentence(bundle, content):
    (bundle.folder / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json .*copy it again"):
        read_bundle(bundle.folder)


def test_nothing_is_left_of_a_bundle_that_could_not_be_written(tmp_path, sources):
    sources["model_card.md"].unlink()
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "out" / "bundle", build_spec(), sources)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(BundleError, match=r"without its file network\.onnx"):
        write_bundle(tmp_path / "bundle", build_spec(format=NetworkFormat.ONNX), sources)


def test_a_bundle_does_not_overwrite(bundle, sources, tmp_path):
    with pytest.raises(HilumError, match="not an empty folder"):
        write_bundle(bundle.folder, build_spec(), sources)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert is_bundle(write_bundle(empty, build_spec(), sources).folder)


def test_model_words_are_resolved(bundle, tmp_path):
    assert resolve_bundle(str(bundle.folder)) == bundle.folder
    with pytest.raises(BundleError, match="There is no bundle"):
        resolve_bundle(tmp_path / "nowhere")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(BundleError, match=r"is not a bundle: it has no bundle\.json"):
        resolve_bundle(run)
    (run / "config.yaml").write_text("")
    with pytest.raises(BundleError, match=f"is a run, .* 'hilum export {run} --out BUNDLE'"):
        resolve_bundle(run)


def test_the_packaged_bundle_is_found(bundle, tmp_path):
    with pytest.raises(BundleError, match="No bundle comes with this installation"):
        packaged_bundle(tmp_path / PACKAGED)
    folder = tmp_path / PACKAGED / "hilum-1"
    folder.parent.mkdir()
    bundle.folder.rename(folder)
    assert read_bundle(packaged_bundle(tmp_path / PACKAGED)).spec == bundle.spec


def test_a_bundle_without_a_gate(tmp_path, sources):
    del sources["gate.npz"]
    bundle = read_bundle(write_bundle(tmp_path / "bundle", build_spec(gate=None), sources).folder)
    assert bundle.gate is None
