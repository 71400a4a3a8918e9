import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from torchvision.models.resnet import Bottleneck, ResNet

from hilum.model.network import STAGES, RadiographNet, list_parameter_groups
from hilum.model.resnet import ResNet50

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RadiographNet().eval()


def test_the_mean_of_the_map_plus_bias_is_the_logit(network):
    pictures = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        output = network.forward_maps(pictures)
        logits = network(pictures)[:, 0]
    assert output.cam.shape == (3, 3, 3)
    assert output.features.shape == (3, 2048)
    np.testing.assert_allclose(output.cam.mean((1, 2)) + network.fc.bias.detach(), output.logit, atol=1e-5)
    np.testing.assert_allclose(logits, output.logit, atol=1e-6)


def test_the_map_is_grad_cam_at_layer4_as_captum_computes_it(network):
    """Selvaraju et al. 2017, section 3.1: the gradient of a mean over 3 x 3 places is 1/9 of the weight."""
    pictures = torch.randn(2, 3, 96, 96)
    grad_cam = LayerGradCam(network, network.layer4).attribute(pictures, target=0)
    with torch.no_grad():
        cam = network.forward_maps(pictures).cam
    assert cam.abs().max() > 1e-3
    np.testing.assert_allclose(9 * grad_cam[:, 0].detach(), cam, rtol=1e-3, atol=1e-5)


def test_a_second_output_tells_pathogens_apart_and_leaves_the_first_alone():
    torch.manual_seed(0)
    network = RadiographNet(outputs=2).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        output = network.forward_maps(pictures)
        logits = network(pictures)
    np.testing.assert_allclose(output.cam.mean((1, 2)) + network.fc.bias[0].detach(), output.logit, atol=1e-5)
    np.testing.assert_allclose(logits, torch.stack([output.logit, output.pathogen], 1), atol=1e-6)


def test_key_names_are_torchvisions():
    ours = RadiographNet().state_dict()
    theirs = torchvision.models.resnet50(weights=None, num_classes=1).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_every_parameter_is_in_one_group_and_learns_at_its_stages_rate(network):
    groups = list_parameter_groups(network, lr=1.0, layer_decay=0.5, weight_decay=0.1)
    listed = [id(p) for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters()}
    rates = {group["stage"]: group["lr"] for group in groups}
    assert rates == {"conv1": 0.0625, "layer1": 0.125, "layer2": 0.25, "layer3": 0.5, "layer4": 1.0, "fc": 1.0}
    assert set(rates) == {names[0] for names in STAGES}
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_freezing_leaves_only_the_head_learning(network):
    network.freeze_backbone(True)
    assert {n for n, p in network.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    network.freeze_backbone(False)
    assert all(p.requires_grad for p in network.parameters())


def test_frozen_batch_norm_keeps_its_statistics():
    network = RadiographNet().train()
    network.freeze_batch_norm()
    before = network.layer1[0].bn1.running_mean.clone()
    network(torch.randn(2, 3, 64, 64))
    assert torch.equal(before, network.layer1[0].bn1.running_mean)
    network.train()
    network(torch.randn(2, 3, 64, 64))
    assert not torch.equal(before, network.layer1[0].bn1.running_mean)


def test_the_network_is_torchvisions_bit_for_bit():
    torch.manual_seed(0)
    expected = ResNet(Bottleneck, [3, 4, 6, 3], num_classes=2, zero_init_residual=True)
    torch.manual_seed(0)
    found = ResNet50(2)
    wanted, state = expected.state_dict(), found.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(found(images), expected(images))  # in training, BatchNorm by the batch
    assert torch.equal(found.eval()(images), expected.eval()(images))


def test_the_last_layer_computes_in_float32_under_autocast():
    network = RadiographNet().eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(images).dtype is torch.float32
