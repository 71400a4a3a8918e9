import subprocess
import sys

import numpy as np
import pytest
from tests.brightness_bundle import SIZE, compute_logit, write_brightness_bundle

from hilum.bundle import Precision
from hilum.errors import BundleError
from hilum.inference.runtime import Mode, Network, choose_options
from hilum.inference.vino import ov

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def network(bundle):
    return Network.open(bundle, threads=2, batch=4)


@pytest.fixture
def pictures(rng):
    coarse = rng.integers(0, 256, (23, 1, 1), dtype=np.uint8)
    return np.broadcast_to(coarse, (23, SIZE, SIZE)) ^ rng.integers(0, 8, (23, SIZE, SIZE), dtype=np.uint8)


def expect(pictures):
    return [compute_logit(picture) for picture in pictures]


def test_any_number_of_pictures_is_scored(network, pictures):
    for count in (1, 3, 4, 5, 23):
        output = network.infer(pictures[:count])
        np.testing.assert_allclose(output.logit, expect(pictures[:count]), atol=1e-4)
        assert output.cam.shape == (count, 2, 2)
        assert output.features.shape[0] == count
        assert {values.dtype for values in (output.logit, output.cam, output.features)} == {np.dtype(np.float32)}
    none = network.infer(pictures[:0])
    assert none.logit.shape == (0,)
    assert none.cam.shape == (0, 2, 2)


def test_a_stream_answers_batch_by_batch_in_order(network, pictures):
    cuts = [(0, 4), (4, 5), (5, 9), (9, 10), (10, 14), (14, 18), (18, 20), (20, 23)]
    outputs = list(network.stream(pictures[first:last] for first, last in cuts))
    assert [len(output.logit) for output in outputs] == [last - first for first, last in cuts]
    np.testing.assert_allclose(np.concatenate([output.logit for output in outputs]), expect(pictures), atol=1e-4)


def test_a_stream_takes_few_batches_ahead(network, pictures):
    taken = []

    def give():
        for number in range(200):
            taken.append(number)
            yield pictures[:4]

    stream = network.stream(give())
    for answered in range(1, 101):
        next(stream)
        assert len(taken) - answered <= 4
    stream.close()
    assert len(taken) < 110


def test_results_are_not_overwritten_by_later_requests(network, pictures):
    outputs = list(network.stream(pictures[[index]] for index in range(23)))
    np.testing.assert_allclose([output.logit[0] for output in outputs], expect(pictures), atol=1e-4)


def test_a_stream_that_was_left_does_not_harm_the_next(network, pictures):
    stream = network.stream(pictures[first : first + 4] for first in range(0, 20, 4))
    next(stream)
    stream.close()
    np.testing.assert_allclose(network.infer(pictures).logit, expect(pictures), atol=1e-4)


def test_an_error_in_the_input_comes_through(network, pictures):
    def give():
        yield pictures[:4]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(network.stream(give()))
    np.testing.assert_allclose(network.infer(pictures).logit, expect(pictures), atol=1e-4)


def test_both_modes_and_all_thread_counts_agree(bundle, network, pictures):
    expected = network.infer(pictures).logit
    for mode in Mode:
        for threads in (1, 2, 3):
            answer = Network.open(bundle, mode=mode, threads=threads).infer(pictures).logit
            np.testing.assert_allclose(answer, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, SIZE, SIZE), (5, SIZE, SIZE), (1, SIZE, SIZE + 1), (1, 1, SIZE, SIZE)])
def test_a_batch_of_another_shape_is_a_fault_of_the_caller(network, shape):
    with pytest.raises(ValueError, match=r"1 to 4 of 64 x 64 are taken"):
        next(network.stream(iter([np.zeros(shape, np.uint8)])))


def load(path):
    return Network.load(path, size=SIZE, precision=Precision.FP32)


def test_files_that_hold_no_network_are_refused(tmp_path):
    for name, content in (("a.xml", b""), ("b.xml", b"<net/>"), ("c.onnx", b"nonsense"), ("d.xml", b"\x00" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match=f"{name} cannot be used"):
            load(tmp_path / name)
    with pytest.raises(BundleError, match="cannot be used"):
        load(tmp_path / "missing.xml")


def test_networks_with_other_inputs_or_outputs_are_refused(tmp_path):
    ops = ov.opset13

    def save(kind, name):
        pictures = ops.parameter([-1, SIZE, SIZE], kind)
        logit = ops.reduce_mean(ops.convert(pictures, "f32"), np.array([1, 2]))
        logit.output(0).get_tensor().set_names({"logit"})
        ov.save_model(ov.Model([logit], [pictures]), tmp_path / name)
        return tmp_path / name

    with pytest.raises(BundleError, match="no output cam"):
        load(save(ov.Type.u8, "outputs.xml"))
    with pytest.raises(BundleError, match="its input is not one batch of 64 x 64 gray pictures"):
        load(save(ov.Type.f32, "inputs.xml"))


def test_float32_stays_float32_where_the_processor_has_bfloat16():
    for precision, kind in ((Precision.FP32, ov.Type.f32), (Precision.BF16, ov.Type.bf16)):
        options = choose_options(precision, mode=Mode.LATENCY, threads=3)
        assert options[ov.properties.hint.inference_precision] == kind
        assert options[ov.properties.inference_num_threads] == 3


def test_inference_imports_no_torch_and_reports_to_nobody():
    code = (
        "import sys, hilum.bundle, hilum.inference.runtime, hilum.inference.cpus; "
        "print([name for name in ('torch', 'torchvision', 'lightning', 'pandas', 'openvino_telemetry')"
        " if sys.modules.get(name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
