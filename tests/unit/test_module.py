import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import TrainConfig
from hilum.model.module import PneumoniaModule, compute_schedule
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
    logits, labels = torch.tensor([0.3, -1.2]), torch.tensor([0.0, 1.0])
    p = torch.sigmoid(logits)
    normal = -(0.05 * p[0].log() + 0.95 * (1 - p[0]).log())
    pneumonia = -(0.95 * p[1].log() + 0.05 * (1 - p[1]).log())
    assert module.compute_loss(logits, labels).item() == pytest.approx(
        (2.0 * normal + 0.5 * pneumonia).item() / 2, rel=1e-5
    )


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
