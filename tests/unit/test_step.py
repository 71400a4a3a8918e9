import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.config import TrainConfig
from hilum.model.average import WeightAverage
from hilum.model.loss import build_loss, measure_validation_loss
from hilum.model.network import RadiographNet
from hilum.model.step import (
    RateSchedule,
    TrainingStep,
    build_optimizer,
    compute_schedule,
    mix,
    scale_decay,
    scale_to_batch,
)

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


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


def compute_loss(logits, targets, **settings):
    return build_loss(TrainConfig(**settings), class_weights=(2.0, 0.5))(logits, targets)


def test_the_loss_smooths_labels_and_weighs_classes():
    logits, targets = torch.tensor([[0.3], [-1.2]]), torch.tensor([[0.0], [1.0]])
    p = torch.sigmoid(logits[:, 0])
    normal = -(0.05 * p[0].log() + 0.95 * (1 - p[0]).log())
    pneumonia = -(0.95 * p[1].log() + 0.05 * (1 - p[1]).log())
    assert compute_loss(logits, targets, label_smoothing=0.1).item() == pytest.approx(
        (2.0 * normal + 0.5 * pneumonia).item() / 2, rel=1e-5
    )


def test_an_unknown_pathogen_does_not_weigh_in_the_loss():
    settings = {"label_smoothing": 0.0, "pathogen_loss": 2.0}
    nan = float("nan")
    logits = torch.tensor([[0.3, 5.0], [-1.2, 0.4], [0.8, -0.7], [0.1, 9.0]])
    targets = torch.tensor([[0.0, nan], [1.0, 1.0], [1.0, 0.0], [1.0, nan]])
    alone = compute_loss(logits[:, :1], targets[:, :1], **settings)
    viral, bacterial = torch.sigmoid(logits[1, 1]), torch.sigmoid(logits[2, 1])
    expected = alone + 2.0 * (-viral.log() - (1 - bacterial).log()) / 2
    assert compute_loss(logits, targets, **settings).item() == pytest.approx(expected.item(), rel=1e-5)
    none = compute_loss(logits[[0, 3]], targets[[0, 3]], **settings)
    assert none.item() == pytest.approx(compute_loss(logits[[0, 3], :1], targets[[0, 3], :1], **settings).item())


def test_the_validation_loss_is_neither_smoothed_nor_weighted():
    logits, targets = torch.tensor([[0.3], [-1.2]]), torch.tensor([[0.0], [1.0]])
    p = torch.sigmoid(logits[:, 0])
    expected = -((1 - p[0]).log() + p[1].log()) / 2
    assert measure_validation_loss(logits, targets, TrainConfig()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_mixing_keeps_the_larger_part_and_moves_targets_alike():
    inputs, targets = torch.eye(6), torch.arange(6.0)[:, None]
    mixed, moved = mix(inputs, targets, alpha=0.4, seed=3)
    again, _ = mix(inputs, targets, alpha=0.4, seed=3)
    other, _ = mix(inputs, targets, alpha=0.4, seed=4)
    assert torch.equal(mixed, again)
    assert not torch.equal(mixed, other)
    assert (mixed.diagonal() >= 0.5).all()
    np.testing.assert_allclose(mixed.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(mixed @ targets, moved, atol=1e-5)


def test_the_head_learns_alone_first_then_all_follow_one_schedule():
    config = TrainConfig(epochs=2, head_epochs=1, lr=1e-3, head_lr=5e-3, layer_decay=0.5, warmup=0.1)
    optimizer = build_optimizer(RadiographNet(), config, CPU)
    schedule = RateSchedule(optimizer, config, steps_per_epoch=10)
    rates = np.array([schedule.compute(step) for step in range(31)])
    assert (rates[:10, :-2] == 0).all()
    assert rates[:10, -1] == pytest.approx(5e-3)
    assert rates[10:].max(axis=0)[-1] == pytest.approx(1e-3)
    assert rates[10:].max(axis=0)[0] == pytest.approx(1e-3 * 0.5**4)
    assert (rates[30] == 0).all()
    schedule.apply(15)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates[15])


def test_larger_batches_learn_faster_by_the_square_root_and_average_over_as_many_images():
    small, large = TrainConfig(), TrainConfig(batch_size=128)
    assert scale_to_batch(small) == 1
    assert scale_to_batch(large) == pytest.approx(2)
    assert scale_decay(large) == pytest.approx(small.ema_decay**4)
    assert scale_decay(TrainConfig(ema_decay=None)) is None


class Small(torch.nn.Module):
    """A network that learns in a moment."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = torch.nn.BatchNorm2d(3)
        self.fc = torch.nn.Linear(3 * 8 * 8, 1)

    def forward(self, inputs):
        return self.fc(self.norm(inputs).flatten(1))


def learn(device, *, steps, clip_norm=1.0, dtype=torch.float32):
    network = Small().to(device)
    config = TrainConfig(label_smoothing=0)
    # A step on CUDA is a captured graph, which reads its learning rate from the device.
    rate = torch.tensor(1e-2, device=device) if device.type == "cuda" else 1e-2
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, fused=True, capturable=device.type == "cuda")
    step = TrainingStep(
        network,
        optimizer,
        build_loss(config, class_weights=(1.0, 1.0)),
        device=device,
        dtype=dtype,
        clip_norm=clip_norm,
    )
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        inputs = torch.randn(16, 3, 8, 8, generator=generator)
        targets = (inputs.mean((1, 2, 3)) > 0).float()[:, None]
        losses.append(float(step(inputs.to(device), targets.to(device))))
    return losses, {key: value.cpu() for key, value in network.state_dict().items()}


def test_a_step_learns_and_repeats_itself():
    losses, state = learn(CPU, steps=40)
    again, same = learn(CPU, steps=40)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert losses == again
    assert all(torch.equal(state[key], same[key]) for key in state)
    assert state["norm.num_batches_tracked"] == 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: captured steps cannot be compared")
def test_captured_steps_learn_what_ordinary_ones_do():
    cuda = torch.device("cuda")
    losses, state = learn(CPU, steps=40)
    captured, same = learn(cuda, steps=40)
    np.testing.assert_allclose(losses, captured, rtol=1e-3, atol=1e-4)
    for key, value in state.items():
        torch.testing.assert_close(value, same[key], rtol=1e-3, atol=1e-4)


def test_the_average_starts_at_the_weights_and_follows_them():
    network = Small()
    average = WeightAverage(network, 0.9)
    with torch.no_grad():
        network.fc.weight.fill_(1.0)
        average.update()
        assert (average.network.fc.weight == 1).all()
        network.fc.weight.fill_(2.0)
        network.norm.num_batches_tracked.fill_(7)
        average.update()
    kept = 2 / 11  # the decay grows with the count of updates
    torch.testing.assert_close(average.network.fc.weight, torch.full_like(network.fc.weight, kept + 2 * (1 - kept)))
    assert average.network.norm.num_batches_tracked == 7
    for _ in range(300):
        average.update()
    torch.testing.assert_close(average.network.fc.weight, network.fc.weight)
    assert not average.network.training
