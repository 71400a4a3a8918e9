import hashlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from hilum.errors import WeightsError
from hilum.model.network import RadiographNet
from hilum.model.weights import initialise, load_strictly, read_state, save_network

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def imagenet_like():
    torch.manual_seed(1)
    return torchvision.models.resnet50(weights=None).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_fills_all_but_the_head(imagenet_like, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    half = {k: v.half() if k.endswith("conv1.weight") else v for k, v in imagenet_like.items()}
    save_file(half, path) if suffix == ".safetensors" else torch.save(half, path)
    network = RadiographNet()
    head = network.fc.weight.clone()
    source = initialise(network, str(path))
    assert source.name == path.name
    assert len(source.sha256) == 64
    assert torch.equal(network.layer3[2].conv2.weight, imagenet_like["layer3.2.conv2.weight"])
    assert network.conv1.weight.dtype == torch.float32
    assert torch.equal(network.fc.weight, head)


def test_a_head_of_one_output_is_taken_over(tmp_path):
    trained = RadiographNet()
    save_network(trained, tmp_path / "run.safetensors")
    network = RadiographNet()
    initialise(network, str(tmp_path / "run.safetensors"))
    assert torch.equal(network.fc.weight, trained.fc.weight)


def test_weights_of_another_network_are_refused_with_the_first_keys(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(WeightsError, match=r"r18\.pth do not fit ResNet-50: .*layer1\.0\.conv3\.weight.*more"):
        initialise(RadiographNet(), str(tmp_path / "r18.pth"))


def test_values_that_are_not_finite_are_refused(imagenet_like, tmp_path):
    broken = dict(imagenet_like)
    broken["layer2.0.conv1.weight"] = torch.full_like(broken["layer2.0.conv1.weight"], float("nan"))
    save_file(broken, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError, match=r"not finite, first in layer2\.0\.conv1\.weight"):
        initialise(RadiographNet(), str(tmp_path / "nan.safetensors"))


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_is_unpickled(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Payload()}))
    torch.save({"conv1.weight": Payload()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(WeightsError, match="refused"):
            read_state(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("a.safetensors", b"junk"), ("a.pth", b""), ("b.pth", b"junk")])
def test_a_broken_file_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)


def test_a_missing_file_is_named():
    with pytest.raises(WeightsError, match=r"nowhere\.pth are missing"):
        initialise(RadiographNet(), "nowhere.pth")


def test_a_run_without_its_own_head_is_refused(imagenet_like):
    with pytest.raises(WeightsError, match=r"fc\.weight is \(1000, 2048\) and not \(1, 2048\)"):
        load_strictly(RadiographNet(), imagenet_like, source="x")


def test_equal_weights_are_equal_files_in_every_process(tmp_path):
    code = (
        "import sys, torch; from pathlib import Path; from hilum.model.network import RadiographNet; "
        "from hilum.model.weights import save_network; torch.manual_seed(0); "
        "save_network(RadiographNet(), Path(sys.argv[1]))"
    )
    contents = set()
    for number in range(3):  # an order that changes with the process would show in one of them, mostly
        path = tmp_path / f"{number}.safetensors"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)
        contents.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(contents) == 1
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert len(header["__metadata__"]) == 1  # of several, safetensors chooses the order by chance
