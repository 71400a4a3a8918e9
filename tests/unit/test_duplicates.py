import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from hilum.data.audit import duplicates
from hilum.data.audit.duplicates import find_exact_duplicates, find_near_duplicates
from hilum.data.phantom import draw_phantom
from hilum.types import Label

pytestmark = pytest.mark.unit


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR), dtype=np.uint8)


def recompress(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def noise(rng, n):
    """n pictures that have nothing in common."""
    coarse = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return np.stack([thumbnail(Image.fromarray(picture)) for picture in coarse])


def search(thumbnails, hashes=None, held_out=None, **options):
    hashes = hashes or [f"{i:064x}" for i in range(len(thumbnails))]
    held_out = np.zeros(len(thumbnails), dtype=bool) if held_out is None else held_out
    return find_near_duplicates(thumbnails, hashes, held_out=held_out, **options)


def test_exact_duplicates_are_grouped_larger_groups_first():
    groups = find_exact_duplicates(["a", "b", "a", "c", "b", "b"])
    assert [group.rows for group in groups] == [(1, 4, 5), (0, 2)]
    assert {group.correlation for group in groups} == {1.0}


def test_unlike_pictures_are_not_duplicates(rng):
    found = search(noise(rng, 50))
    assert found.groups == ()
    assert found.complete
    assert not found.screened


def test_changed_copies_of_a_radiograph_are_found_and_other_radiographs_are_not(rng):
    pictures = [Image.fromarray(draw_phantom(rng, label=Label.NORMAL, pathogen=None, size=192)) for _ in range(12)]
    original = pictures[3].convert("L")
    copies = [
        recompress(original, 30),
        original.resize((96, 96), Image.Resampling.BILINEAR),
        ImageEnhance.Brightness(original).enhance(0.8),
        ImageEnhance.Contrast(original).enhance(0.8),
    ]
    found = search(np.stack([thumbnail(picture) for picture in [*pictures, *copies]]))
    (group,) = found.groups
    assert group.rows == (3, 12, 13, 14, 15)
    assert 0.99 <= group.correlation <= 1


def test_exact_copies_are_no_near_duplicates_but_join_the_group_of_one(rng):
    thumbnails = noise(rng, 6)
    thumbnails[1] = thumbnails[0]
    hashes = ["same", "same", "c", "d", "e", "f"]
    assert search(thumbnails, hashes).groups == ()
    thumbnails[5] = np.clip(thumbnails[0].astype(int) + 3, 0, 255)
    (group,) = search(thumbnails, hashes).groups
    assert group.rows == (0, 1, 5)


def test_flat_pictures_resemble_nothing(rng):
    thumbnails = noise(rng, 5)
    thumbnails[:3] = np.array([0, 128, 128])[:, None, None]
    assert search(thumbnails).groups == ()


def test_chains_of_copies_are_one_group_with_its_weakest_link(rng):
    base = rng.normal(0, 40, (64, 64))
    drift = rng.normal(0, 40, (64, 64))
    thumbnails = np.stack([np.clip(128 + base + share * drift, 0, 255) for share in (0.0, 0.1, 0.2)]).astype(np.uint8)
    found = search(thumbnails)
    (group,) = found.groups
    vectors = thumbnails.reshape(3, -1).astype(float)
    links = np.corrcoef(vectors)
    assert group.rows == (0, 1, 2)
    assert links[0, 2] < 0.99 < links[0, 1]
    assert group.correlation == pytest.approx(min(links[0, 1], links[1, 2]), abs=1e-4)


def test_the_closest_pairs_have_one_side_held_out(rng):
    thumbnails = noise(rng, 20)
    blend = 0.9 * thumbnails[2].astype(float) + 0.1 * thumbnails[3]
    thumbnails[15] = blend.astype(np.uint8)
    held_out = np.arange(20) >= 14
    found = search(thumbnails, held_out=held_out)
    pairs = found.closest_across
    assert (pairs[0].first, pairs[0].second) == (2, 15)
    assert all(not held_out[pair.first] and held_out[pair.second] for pair in pairs)
    assert [pair.correlation for pair in pairs] == sorted((pair.correlation for pair in pairs), reverse=True)


def test_without_held_out_pictures_no_pair_crosses(rng):
    assert search(noise(rng, 4)).closest_across == ()


def test_blocks_change_nothing(rng, monkeypatch):
    thumbnails = noise(rng, 30)
    for i, j in ((0, 29), (7, 8), (12, 20)):
        thumbnails[j] = np.clip(thumbnails[i].astype(int) + rng.integers(-4, 5, (64, 64)), 0, 255)
    held_out = np.arange(30) % 3 == 0
    whole = search(thumbnails, held_out=held_out)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    in_blocks = search(thumbnails, held_out=held_out)
    assert [group.rows for group in whole.groups] == [(0, 29), (7, 8), (12, 20)]
    assert [group.rows for group in in_blocks.groups] == [group.rows for group in whole.groups]
    assert [(p.first, p.second) for p in in_blocks.closest_across] == [
        (p.first, p.second) for p in whole.closest_across
    ]


def test_a_screened_search_finds_the_same_groups_and_says_so(rng):
    thumbnails = noise(rng, 30)
    thumbnails[21] = np.clip(thumbnails[4].astype(int) + rng.integers(-6, 7, (64, 64)), 0, 255)
    screened = search(thumbnails, screen_above=10)
    assert screened.screened
    assert screened.closest_across is None
    assert [group.rows for group in screened.groups] == [(4, 21)]
    assert screened.groups[0].correlation == pytest.approx(search(thumbnails).groups[0].correlation, abs=1e-4)


def test_a_search_with_too_many_pairs_stops_and_says_so(rng, monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 3)
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    thumbnails = np.repeat(noise(rng, 1), 12, axis=0)
    found = search(thumbnails)
    assert not found.complete
    assert found.groups
