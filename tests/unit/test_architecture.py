import pytest

from hilum.model.architecture import list_stages
from hilum.model.network import RadiographNet

pytestmark = pytest.mark.unit


def test_stages_are_read_off_the_network():
    network = RadiographNet().train()
    stages = list_stages(network, size=224)
    assert network.training
    assert [stage.kind for stage in stages] == [
        *("input", "convolution", "pool", "blocks", "blocks", "blocks", "blocks", "pool", "linear"),
    ]
    assert sum(stage.parameters for stage in stages) == sum(p.numel() for p in network.parameters())
    shapes = {stage.name: stage.output_shape for stage in stages}
    # He et al. 2016, table 1.
    assert shapes["stem"] == (64, 112, 112)
    assert [shapes[f"layer{i}"] for i in (1, 2, 3, 4)] == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert [stage.repeats for stage in stages if stage.kind == "blocks"] == [3, 4, 6, 3]
    assert shapes["head"] == (1,)


def test_no_hook_is_left_behind():
    network = RadiographNet()
    list_stages(network, size=64)
    assert not any(module._forward_hooks for module in network.modules())
