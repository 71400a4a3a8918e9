import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import TrainConfig
from hilum.model.module import PneumoniaModule, compute_schedule, mix
from hilum.model.network import RadiographNet

pytestmark = pytest.mark.unit


@given(total=st.integers(1, 500), warmup=st.floats(0, 0.9))
def test_the_schedule_rises_once_to_its_peak_and_falls_to_nothing(total, warmup):
    factors = [compute_schedule(step, total=total, warmup=warmup) for step in range(total)]
    assert max(factors) == pytest.approx(1.0)
    assert min(factors) > 0
    top = int(np.argmax(factors))
    assert all(np.diff(factors[: top + 1]) > 0)
    assert all(np.diff(factors[top:]) <= 0)
    assert compute_schedule(-1, total=total, warmup=warmup) == 0
    assert compute_schedule(total, total=total, warmup=warmup) == 0


def build_module(**settings):
    return PneumoniaModule(RadiographNet(), TrainConfig(**settings), class_weights=(2.0, 0.5), steps_per_epoch=10)


def test_the_loss_smooths_labels_and_weighs_classes():
    module = build_module(label_smoothing=0.1)
    logits, targets = torch.tensor([[0.3], [-1.2]]), torch.tensor([[0.0], [1.0]])
    p = torch.sigmoid(logits[:, 0])
    normal = -(0.05 * p[0].log() + 0.95 * (1 - p[0]).log())
    pneumonia = -(0.95 * p[1].log() + 0.05 * (1 - p[1]).log())
    assert module.compute_loss(logits, targets).item() == pytest.approx(
        (2.0 * normal + 0.5 * pneumonia).item() / 2, rel=1e-5
    )


def test_an_unknown_pathogen_does_not_weigh_in_the_loss():
    module = build_module(label_smoothing=0.0, pathogen_loss=2.0)
    nan = float("nan")
    logits = torch.tensor([[0.3, 5.0], [-1.2, 0.4], [0.8, -0.7], [0.1, 9.0]])
    targets = torch.tensor([[0.0, nan], [1.0, 1.0], [1.0, 0.0], [1.0, nan]])
    alone = module.compute_loss(logits[:, :1], targets[:, :1])
    viral, bacterial = torch.sigmoid(logits[1, 1]), torch.sigmoid(logits[2, 1])
    expected = alone + 2.0 * (-viral.log() - (1 - bacterial).log()) / 2
    assert module.compute_loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)
    none = module.compute_loss(logits[[0, 3]], targets[[0, 3]])
    assert torch.isfinite(none)


def test_mixing_keeps_the_larger_part_and_moves_targets_alike():
    pictures, targets = torch.eye(6), torch.arange(6.0)[:, None]
    mixed, moved = mix(pictures, targets, alpha=0.4, seed=3)
    again, _ = mix(pictures, targets, alpha=0.4, seed=3)
    other, _ = mix(pictures, targets, alpha=0.4, seed=4)
    assert torch.equal(mixed, again)
    assert not torch.equal(mixed, other)
    assert (mixed.diagonal() >= 0.5).all()
    np.testing.assert_allclose(mixed.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(mixed @ targets, moved, atol=1e-5)


def test_the_head_learns_alone_first_then_all_follow_one_schedule():
    module = build_module(epochs=2, head_epochs=1, lr=1e-3, head_lr=5e-3, layer_decay=0.5, warmup=0.1)
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    seen = []
    for _ in range(31):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    rates = np.array(seen)
    assert (rates[:10, :-2] == 0).all()
    assert rates[:10, -1] == pytest.approx(5e-3)
    assert rates[10:].max(axis=0)[-1] == pytest.approx(1e-3)
    assert rates[10:].max(axis=0)[0] == pytest.approx(1e-3 * 0.5**4)
    assert (rates[30] == 0).all()
