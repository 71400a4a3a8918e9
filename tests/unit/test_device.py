import pytest
import torch

from hilum.errors import ConfigError, DeviceError
from hilum.model.device import choose_device, choose_dtype, describe_device, explain_device_errors, is_out_of_memory

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == CPU
    assert describe_device(CPU).startswith("cpu (")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cpu:1", "mps:0", "", "auto:1"])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="choose auto, cpu, cuda, cuda:1"):
        choose_device(name)


@needs_no_gpu
def test_without_a_gpu_auto_takes_what_there_is_and_cuda_is_refused():
    assert choose_device("auto").type in ("cpu", "mps")
    with pytest.raises(DeviceError, match=r"No GPU can be used.*; take --device cpu\."):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="No GPU can be used"):
        choose_device("cuda:9")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_taken_by_its_number():
    assert choose_device("auto") == choose_device("cuda") == choose_device("cuda:0") == CUDA
    assert torch.cuda.get_device_name(0) in describe_device(CUDA)
    with pytest.raises(DeviceError, match="There is no GPU 99"):
        choose_device("cuda:99")


def test_the_precision_asked_for_wins():
    assert choose_dtype(CPU, "float32") is torch.float32
    assert choose_dtype(CPU, "bfloat16") is torch.bfloat16
    assert choose_dtype(CPU) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "too little free memory; smaller batch",
        ),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] can't allocate memory: you tried"), "too little free memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered. More words."), "illegal memory access"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_what_torch_raises_becomes_one_sentence(error, message):
    with pytest.raises(DeviceError, match=message) as caught, explain_device_errors(CUDA, smaller="smaller batch"):
        raise error
    assert "\n" not in str(caught.value)
    assert "More words" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("no words"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, short):
    assert is_out_of_memory(error) == short


def test_the_cpu_is_no_way_out_for_the_cpu():
    with pytest.raises(DeviceError) as caught, explain_device_errors(CPU, smaller="take less"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    assert str(caught.value) == "cpu has too little free memory; take less."


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape mismatch"), explain_device_errors(CPU, smaller=""):
        raise RuntimeError("shape mismatch")
