"""The network as a file that runs without torch: uint8 pictures in; logit, class activation map and features out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.bundle import Precision
from hilum.errors import ConfigError
from hilum.inference.runtime import LOCATED, OUTPUTS
from hilum.inference.vino import ov
from hilum.model.crop import LungCrop
from hilum.model.network import RadiographNet
from hilum.preprocess import PreprocessSpec

INPUT = "pictures"


class ExportedNetwork(nn.Module):
    """A RadiographNet with its preprocessing and the locator inside.

    Takes uint8 (n, side, side), gray 0-255, cuts the lungs out where the preprocessing says so, and normalises as
    `hilum.preprocess.normalise` does. Returns `logit` (n,), `cam` (n, h, w) of what the classifier sees and `features`
    (n, 2048) as `RadiographNet.forward_maps` does, and `box` (n, 4) and `views` (n, 6) as `LungCrop`. The map is a
    1 x 1 convolution, and the logit is taken from it, so that the two cannot disagree. Of a network that tells
    pathogens apart only the logit of PNEUMONIA is exported.
    """

    mean: Tensor
    std: Tensor
    head: Tensor
    bias: Tensor

    def __init__(self, network: RadiographNet, spec: PreprocessSpec) -> None:
        super().__init__()
        self.network = network.eval()
        self.crop = LungCrop(spec)
        self.register_buffer("mean", torch.tensor(spec.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(spec.std)[:, None, None])
        self.register_buffer("head", network.fc.weight.detach()[:1, :, None, None])
        self.register_buffer("bias", network.fc.bias.detach()[:1])

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return logit, cam, features, box and view."""
        seen, box, view = self.crop(pictures)
        normalised = ((seen / 255)[:, None] - self.mean) / self.std
        maps = self.network.compute_feature_maps(normalised)
        cam = F.conv2d(maps, self.head).squeeze(1)
        return cam.mean((1, 2)) + self.bias, cam, maps.mean((2, 3)), box, view


def convert_to_openvino(network: RadiographNet, spec: PreprocessSpec) -> Any:
    """Return the network as an `openvino.Model` with any number of pictures a batch."""
    module = ExportedNetwork(network, spec)
    example = torch.zeros((2, spec.side, spec.side), dtype=torch.uint8)
    shape = ov.PartialShape([-1, spec.side, spec.side])
    with torch.inference_mode(), _quiet():
        model = ov.convert_model(module, example_input=example, input=[shape])
    model.input().get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, (*OUTPUTS, *LOCATED), strict=True):
        output.get_tensor().set_names({name})
    return model


def attach_locator(model: Any, spec: PreprocessSpec) -> Any:
    """Return an `openvino.Model` without a locator with the outputs `box` and `views` added; `model` is changed.

    For networks that were exported before there was one: the classifier goes on to see the whole picture.
    """
    example = torch.zeros((2, spec.side, spec.side), dtype=torch.uint8)
    with torch.inference_mode(), _quiet():
        located = ov.convert_model(
            _BoxAndViews(spec), example_input=example, input=[ov.PartialShape([-1, spec.side, spec.side])]
        )
    for output, name in zip(located.outputs, LOCATED, strict=True):
        output.get_tensor().set_names({name})
    (pictures,) = model.get_parameters()
    for target in located.input().get_target_inputs():
        target.replace_source_output(pictures.output(0))
    return ov.Model([*model.get_results(), *located.get_results()], [pictures], model.get_friendly_name())


class _BoxAndViews(nn.Module):
    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        self.crop = LungCrop(spec)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        _, box, views = self.crop(pictures)
        return box, views


def save_openvino(model: Any, path: Path, *, precision: Precision) -> None:
    """Write path (.xml) and the .bin beside it. For bf16 the weights are stored in float16, half as large."""
    ov.save_model(model, path, compress_to_fp16=precision is Precision.BF16)


def save_onnx(network: RadiographNet, spec: PreprocessSpec, path: Path) -> None:
    """Write the network in float32 as ONNX, with any number of pictures a batch.

    Raises:
        ConfigError: the packages that write ONNX are not installed.
    """
    example = torch.zeros((2, spec.side, spec.side), dtype=torch.uint8)
    try:
        with torch.inference_mode(), _quiet():
            torch.onnx.export(
                ExportedNetwork(network, spec),
                (example,),
                path,
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=[*OUTPUTS, *LOCATED],
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Writing ONNX needs {error.name}: install the export part with pip install 'hilum[export]'."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the converters print and warn of in their own code; their errors still come through."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(level)
