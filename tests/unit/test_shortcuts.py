"""The checks for shortcuts, on pictures and models whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from tests.evaluation_data import BrightnessScorer, draw_scored

from hilum.config import EvaluateConfig
from hilum.data.acquisition import draw_text
from hilum.data.lungs import black_out, find_boxes, widen
from hilum.errors import EvaluationError
from hilum.evaluation.intervals import Estimate
from hilum.evaluation.shortcuts import judgements, probe_shortcuts, report_shortcuts
from hilum.evaluation.shortcuts.erasure import CURVES, check_erasure
from hilum.evaluation.shortcuts.evidence import check_evidence
from hilum.evaluation.shortcuts.markers import check_markers, clear_edges, draw_marker
from hilum.evaluation.shortcuts.masking import MaskedResult, check_masked
from hilum.evaluation.shortcuts.means import estimate_auroc, estimate_mean
from hilum.evaluation.shortcuts.metadata import check_metadata
from hilum.evaluation.shortcuts.sample import CountedScorer, Sample, draw_places
from hilum.evaluation.thresholds import OperatingPoint
from hilum.report.render import Severity

pytestmark = pytest.mark.unit

SIDE = 56
CELLS = 7
POINT = OperatingPoint(threshold=0.5, temperature=1.0, rule="stored", source="test")
DRAWING = {"resamples": 200, "seed": 0}


def find_box():
    """A mask of one square lung in the middle."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[16:40, 16:40] = True
    return mask


def draw_pictures(count, where, rng, *, contrast=60):
    """Half of the pictures are brighter where `where`; the rest of each is noise about mid-gray."""
    labels = np.arange(count) % 2 == 1
    pictures = rng.normal(110, 12, (count, SIDE, SIDE))
    pictures[labels] += contrast * where
    return labels, np.clip(pictures, 0, 255).astype(np.uint8)


def score_where(where, *, gain=0.2, middle=140):
    """A model that looks at the mean brightness of a region, and the map that it gives."""

    def score(pictures):
        return gain * (pictures[:, where].mean(axis=1) - middle)

    return score


def build_sample(labels, pictures, score, cams=None):
    logits = score(pictures)
    masks = np.repeat(find_box()[None], len(labels), axis=0)
    if cams is None:
        cams = np.zeros((len(labels), CELLS, CELLS), dtype=np.float32)
    return Sample(
        pictures=pictures,
        masks=masks,
        plausible=np.ones(len(labels), dtype=bool),
        labels=labels,
        called=logits >= 0,
        logits=logits,
        cams=cams,
        patients=[str(number // 2) for number in range(len(labels))],
    )


def test_a_model_of_the_lungs_is_blind_without_them(rng):
    labels, pictures = draw_pictures(40, find_box(), rng)
    score = score_where(find_box())
    result = check_masked(build_sample(labels, pictures, score), score, POINT, **DRAWING)
    assert result.whole.value == 1
    assert result.only_lungs.value == 1
    assert result.without_lungs.value == result.without_box.value == 0.5
    assert result.kept_without == 0
    assert judgements.judge_without_lungs(result).severity is Severity.GOOD
    assert judgements.judge_only_lungs(result).severity is Severity.GOOD


def test_a_model_of_the_corner_does_not_need_the_lungs(rng):
    corner = np.zeros((SIDE, SIDE), dtype=bool)
    corner[:10, :10] = True
    labels, pictures = draw_pictures(40, corner, rng)
    score = score_where(corner)
    result = check_masked(build_sample(labels, pictures, score), score, POINT, **DRAWING)
    assert result.without_lungs.value == result.without_box.value == 1
    assert result.only_lungs.value == 0.5
    assert result.kept_without == 1
    for finding in (judgements.judge_without_lungs(result), judgements.judge_only_lungs(result)):
        assert finding.severity is Severity.WARNING
        assert finding.text.startswith("Bad: with ")
        assert finding.finding.text == f"Bad: {finding.meaning}."


def test_without_chance_to_lose_nothing_is_said_to_be_kept():
    chance = Estimate(0.6, 0.4, 0.8)
    result = MaskedResult(10, 0.3, whole=chance, without_lungs=chance, without_box=chance, only_lungs=chance)
    assert result.kept_without is None
    for judgement in (judgements.judge_without_lungs(result), judgements.judge_only_lungs(result)):
        assert judgement.severity is Severity.NOTE
        assert "better than chance" in judgement.text


def test_black_out_touches_nothing_else(rng):
    _, pictures = draw_pictures(4, find_box(), rng)
    masks = widen(np.repeat(find_box()[None], 4, axis=0))
    changed = black_out(pictures, masks)
    assert (changed[masks] == 0).all()
    np.testing.assert_array_equal(changed[~masks], pictures[~masks])
    assert masks.sum() > 4 * find_box().sum()


def test_boxes_are_the_smallest_rectangles(rng):
    masks = np.zeros((3, 9, 9), dtype=bool)
    masks[0, 2, 3] = masks[0, 5, 7] = True
    masks[1, :, 4] = True
    boxes = find_boxes(masks)
    expected = np.zeros_like(masks)
    expected[0, 2:6, 3:8] = True
    expected[1, :, 4] = True
    np.testing.assert_array_equal(boxes, expected)


def test_evidence_in_and_outside_of_the_lungs(rng):
    labels, pictures = draw_pictures(20, find_box(), rng)
    inside = np.full((20, CELLS, CELLS), -1.0, dtype=np.float32)
    inside[:, 3, 3] = 5  # the middle cell
    outside = np.full((20, CELLS, CELLS), -1.0, dtype=np.float32)
    outside[:, 0, 0] = 5
    score = score_where(find_box())
    good = check_evidence(build_sample(labels, pictures, score, inside), **DRAWING)
    bad = check_evidence(build_sample(labels, pictures, score, outside), **DRAWING)
    assert good.n == bad.n == 10
    assert good.inside.value == pytest.approx(1)
    assert good.pointing.value == 1
    assert bad.inside.value == 0
    assert bad.pointing.value == 0
    assert good.area == pytest.approx(find_box().mean())
    assert judgements.judge_evidence(good).severity is Severity.GOOD
    assert judgements.judge_evidence(bad).severity is Severity.WARNING


def test_even_evidence_is_that_of_chance(rng):
    labels, pictures = draw_pictures(20, find_box(), rng)
    even = np.ones((20, CELLS, CELLS), dtype=np.float32)
    result = check_evidence(build_sample(labels, pictures, score_where(find_box()), even), **DRAWING)
    assert result.inside.value == pytest.approx(result.area)


def test_true_maps_beat_chance_and_false_ones_do_not(rng):
    spot = np.zeros((SIDE, SIDE), dtype=bool)
    spot[24:32, 24:32] = True  # the middle cell
    labels, pictures = draw_pictures(24, spot, rng, contrast=90)
    score = score_where(spot, gain=0.1)
    true = np.zeros((24, CELLS, CELLS), dtype=np.float32)
    true[:, 3, 3] = 1
    false = -true
    good = check_erasure(build_sample(labels, pictures, score, true), score, POINT, count=8, **DRAWING)
    bad = check_erasure(build_sample(labels, pictures, score, false), score, POINT, count=8, **DRAWING)
    assert good.n == 8
    assert good.deletion_gain.value > 0.1
    assert good.insertion_gain.value > 0.1
    assert bad.deletion_gain.value < 0
    assert bad.insertion_gain.value < 0
    assert judgements.judge_erasure(good).severity is Severity.GOOD
    assert judgements.judge_erasure(bad).severity is Severity.WARNING


def test_curves_share_their_ends_and_stay_within_the_budget(rng):
    labels, pictures = draw_pictures(12, find_box(), rng)
    score = CountedScorer(score_where(find_box()))
    sample = build_sample(labels, pictures, score_where(find_box()))
    result = check_erasure(sample, score, POINT, count=100, **DRAWING)
    assert result.n == sample.called.sum()
    assert score.count == 21 * result.n
    assert (result.shares[0], result.shares[-1]) == (0, 1)
    curves = [result.curves[name] for name in CURVES]
    assert curves[0][0] == curves[1][0] == curves[2][-1] == curves[3][-1]
    assert curves[0][-1] == curves[1][-1] == curves[2][0] == curves[3][0]


def test_a_coarse_map_gives_fewer_steps(rng):
    labels, pictures = draw_pictures(8, find_box(), rng)
    score = score_where(find_box())
    sample = build_sample(labels, pictures, score, np.zeros((8, 2, 2), dtype=np.float32))
    result = check_erasure(sample, score, POINT, count=8, **DRAWING)
    np.testing.assert_allclose(result.shares, [0, 0.25, 0.5, 0.75, 1])


def test_a_map_of_one_cell_has_the_ends_alone(rng):
    labels, pictures = draw_pictures(8, find_box(), rng)
    score = score_where(find_box())
    sample = build_sample(labels, pictures, score, np.zeros((8, 1, 1), dtype=np.float32))
    result = check_erasure(sample, score, POINT, count=8, **DRAWING)
    np.testing.assert_array_equal(result.shares, [0, 1])
    assert result.deletion_gain.value == 0
    assert "None" not in judgements.judge_erasure(result).text


def test_clearing_removes_a_marker_and_leaves_the_lungs(rng):
    smooth = np.full((224, 224), 60, dtype=np.uint8)
    lungs = np.zeros((224, 224), dtype=bool)
    lungs[40:180, 10:100] = True  # reaches into the side margin
    marked = draw_text(draw_marker(smooth), "L", row=0.5, column=0.08, size=0.1, value=255)
    cleared = clear_edges(marked, lungs)
    assert (marked[:40] > 200).any()
    assert (cleared[:40] <= 61).all()
    np.testing.assert_array_equal(cleared[lungs], marked[lungs])
    middle = slice(60, 164)
    np.testing.assert_array_equal(cleared[middle, middle], marked[middle, middle])


def test_a_model_that_reads_markers_is_found_out(rng):
    labels, pictures = draw_pictures(40, np.zeros((SIDE, SIDE), dtype=bool), rng)
    pictures[labels] = np.stack([draw_marker(picture) for picture in pictures[labels]])

    def read_corner(batch):
        return 40.0 * ((batch[:, :12, :12] > 170).mean(axis=(1, 2)) - 0.01)

    sample = build_sample(labels, pictures, read_corner)
    assert (sample.called == labels).all()
    cleared, drawn = check_markers(sample, read_corner, POINT, count=40, **DRAWING)
    assert (cleared.n, drawn.n) == (40, 20)
    assert cleared.flipped.value == 0.5  # all of PNEUMONIA, none of NORMAL
    assert cleared.mean_change.value < 0
    assert drawn.flipped.value == 1
    assert judgements.judge_markers(cleared, drawn).severity is Severity.WARNING


def test_a_model_that_does_not_read_markers_is_cleared(rng):
    labels, pictures = draw_pictures(40, find_box(), rng)
    score = score_where(find_box())
    cleared, drawn = check_markers(build_sample(labels, pictures, score), score, POINT, count=10, **DRAWING)
    assert (cleared.n, drawn.n) == (10, 5)
    assert cleared.mean_size.value == drawn.mean_size.value == 0
    assert judgements.judge_markers(cleared, drawn).severity is Severity.GOOD


def test_with_one_class_alone_markers_can_be_tested_as_far_as_that_goes(rng):
    _, pictures = draw_pictures(8, find_box(), rng)
    score = score_where(find_box())
    sample = build_sample(np.ones(8, dtype=bool), pictures, score)
    cleared, drawn = check_markers(sample, score, POINT, count=8, **DRAWING)
    assert (cleared.n, drawn.n) == (4, 0)
    assert drawn.flipped.value is None
    assert "None" not in judgements.judge_markers(cleared, drawn).text
    assert check_masked(sample, score, POINT, **DRAWING).whole.value is None


def build_manifest(*, telling):
    """Metadata of 120 train and 60 test pictures; where `telling`, the ill have smaller files."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(180):
        ill = number % 2 == 1
        size = 30_000 if ill and telling else 60_000
        rows.append(
            {
                "path": f"{number}.png",
                "sha256": f"{number:064d}",
                "label": "PNEUMONIA" if ill else "NORMAL",
                "patient": f"p/{number}",
                "split": "train" if number < 120 else "test",
                "width": int(rng.integers(900, 1100)),
                "height": int(rng.integers(900, 1100)),
                "bytes": int(rng.normal(size, 2000)),
                "mode": "L",
                "mean": float(rng.normal(120, 10)),
                "status": "ok",
            }
        )
    return pd.DataFrame(rows)


def score_test(manifest):
    tested = draw_scored("test", size=60)
    rows = manifest[manifest["split"] == "test"].reset_index(drop=True)
    table = tested.table.assign(path=rows["path"], label=rows["label"], patient=rows["patient"])
    return type(tested)(tested.split, table, tested.cams)


@pytest.mark.parametrize(("telling", "severity"), [(True, Severity.WARNING), (False, Severity.GOOD)])
def test_metadata_that_tell_are_found(telling, severity):
    manifest = build_manifest(telling=telling)
    tested = manifest[manifest["split"] == "test"]
    result = check_metadata(score_test(manifest), tested, manifest, **DRAWING)
    assert result.trained_on == 120
    assert (result.auroc.value > 0.95) is telling
    assert judgements.judge_metadata(result).severity is severity


def test_what_a_model_owes_to_the_files_is_lost_where_they_are_alike():
    manifest = build_manifest(telling=True)
    rng = np.random.default_rng(1)
    ill = (manifest["label"] == "PNEUMONIA").to_numpy()
    manifest["bytes"] = np.where(ill, 40_000, 52_000) + rng.normal(0, 8000, len(manifest)).astype(int)
    tested = manifest[manifest["split"] == "test"]
    scored = score_test(manifest)

    def check(logits):
        table = scored.table.assign(logit=logits)
        return check_metadata(type(scored)(scored.split, table, scored.cams), tested, manifest, **DRAWING)

    sizes = tested["bytes"].to_numpy(dtype=float)
    reader = check((46_000 - sizes) / 4000)
    assert reader.balanced.value < reader.auroc.value - 0.1
    assert reader.model_balanced.value < reader.auroc.value - 0.1
    honest = check(np.where(scored.labels, 2.0, -2.0) + rng.normal(0, 1, len(tested)))
    assert honest.model_balanced.value > 0.95
    assert "no more than" in judgements.judge_metadata(honest).figures


def test_pictures_that_validated_do_not_teach_the_metadata_baseline():
    manifest = build_manifest(telling=True)
    splits = manifest.assign(split=np.where(np.arange(180) < 100, "train", "test"))
    assert check_metadata(score_test(manifest), splits, manifest, **DRAWING).trained_on == 100


def test_pictures_that_the_data_lack_leave_the_metadata_open():
    manifest = build_manifest(telling=True)
    tested = manifest[manifest["split"] == "test"]
    result = check_metadata(score_test(manifest), tested, manifest.drop(index=tested.index[:1]), **DRAWING)
    assert result.auroc.value is None
    assert "some of the files" in result.auroc.reason


def test_metadata_need_train_pictures():
    manifest = build_manifest(telling=True)
    scored, tested = score_test(manifest), manifest[manifest["split"] == "test"]
    for known in (None, tested):
        result = check_metadata(scored, tested, known, **DRAWING)
        assert result.auroc.value is None
        assert "not at hand" in judgements.judge_metadata(result).text


def test_means_have_the_interval_of_patients():
    rng = np.random.default_rng(1)
    values = rng.normal(0.7, 0.1, 200)
    alone = estimate_mean(values, [str(n) for n in range(200)], resamples=500, seed=0)
    shared = estimate_mean(np.repeat(values[:20], 10), [str(n // 10) for n in range(200)], resamples=500, seed=0)
    assert alone.value == pytest.approx(values.mean())
    assert alone.ci_low < alone.value < alone.ci_high
    assert alone.ci_high - alone.ci_low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(200), rel=0.2)
    assert shared.ci_high - shared.ci_low > 1.5 * (alone.ci_high - alone.ci_low)
    assert estimate_mean(values[:0], [], resamples=10, seed=0).value is None
    assert estimate_mean(values[:3], ["a"] * 3, resamples=10, seed=0).ci_low is None


def test_auroc_needs_both_classes():
    assert estimate_auroc(np.ones(4, dtype=bool), np.full(4, 0.5), list("abcd"), resamples=10, seed=0).value is None


def test_a_perfect_auroc_has_an_interval():
    labels = np.arange(20) < 8
    scores = np.where(labels, 0.9, 0.1)
    patients = [f"p{number // 2}" for number in range(20)]  # 4 of PNEUMONIA, 6 NORMAL
    for weights in (None, np.linspace(0.5, 1.5, 20)):
        estimate = estimate_auroc(labels, scores, patients, resamples=10, seed=0, weights=weights)
        assert (estimate.value, estimate.ci_high, estimate.method) == (1.0, 1.0, "clopper-pearson")
        assert estimate.ci_low == pytest.approx(0.025 ** (1 / 4))
    # An image that does not count separates nothing, and its patient is no evidence.
    scores[0] = 0.0
    counted = np.ones(20)
    counted[:2] = 0
    estimate = estimate_auroc(labels, scores, patients, resamples=10, seed=0, weights=counted)
    assert (estimate.value, estimate.ci_low) == (1.0, pytest.approx(0.025 ** (1 / 3)))
    assert estimate_auroc(labels, scores, patients, resamples=100, seed=0).method == "bootstrap"


def test_draw_places_is_seeded_ordered_and_bounded():
    among = np.arange(100) % 3 == 0
    places = draw_places(among, count=10, seed=4)
    assert len(places) == 10
    assert among[places].all()
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(places, draw_places(among, count=10, seed=4))
    np.testing.assert_array_equal(draw_places(among, count=1000, seed=4), np.flatnonzero(among))


def test_a_model_that_scores_files_alone_cannot_be_probed():
    scored = draw_scored("test", size=20)
    with pytest.raises(EvaluationError, match="changed pictures"):
        probe_shortcuts(
            BrightnessScorer(), scored, POINT, splits=scored.table, manifest=None, config=EvaluateConfig(), seed=0
        )


@pytest.mark.parametrize("command", ["hilum evaluate RUN DATA --out DIR", ""])
def test_what_was_not_run_is_said_with_how_to_run_it(tmp_path, command):
    section = report_shortcuts(None, tmp_path, command=command, full_scale=1.0, seed=0)
    assert section.title == "Is it looking at the lungs?"
    assert "--shortcuts" in section.blocks[0]
    assert not list(tmp_path.iterdir())
    assert [block.text for block in section.blocks[1:]] == [f"{command} --shortcuts"] * bool(command)
