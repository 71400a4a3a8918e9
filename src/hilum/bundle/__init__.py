"""The model bundle: one folder that holds all that a prediction needs, and says what it is.

BUNDLE/bundle.json       what the model is, how it decides, where it comes from, and the hashes of the other files
BUNDLE/network.xml,.bin  the network (OpenVINO IR), or network.onnx
BUNDLE/gate.npz          the statistics of the input gate, where there is one
BUNDLE/seen.txt          which pictures it was made of, as shortened hashes
BUNDLE/model_card.md     the same for people

The network takes `pictures`, uint8 (n, size, size), gray 0-255 as `hilum.preprocess.resize` gives them, and has the
outputs `logit` (n,), `cam` (n, h, w) with mean(cam) + bias = logit, and `features` (n, 2048).
"""

from hilum.bundle.folder import (
    PACKAGED,
    PACKAGED_FOLDER,
    Bundle,
    is_bundle,
    packaged_bundle,
    read_bundle,
    resolve_bundle,
    write_bundle,
)
from hilum.bundle.seen import list_seen, read_seen, refuse_seen, write_seen
from hilum.bundle.spec import (
    GATE,
    MODEL_CARD,
    NETWORK_IR,
    NETWORK_ONNX,
    NETWORK_WEIGHTS,
    SCHEMA_VERSION,
    SEEN,
    SPEC,
    BundleSpec,
    ConformalSpec,
    FileName,
    GateSpec,
    MetricSpec,
    NetworkFormat,
    OperatingPointSpec,
    ParitySpec,
    Precision,
    ProvenanceSpec,
    RecalibrationSpec,
    Sha256,
    Share,
    WeightsSpec,
    check_name,
    describe_input,
)

__all__ = [
    "GATE",
    "MODEL_CARD",
    "NETWORK_IR",
    "NETWORK_ONNX",
    "NETWORK_WEIGHTS",
    "PACKAGED",
    "PACKAGED_FOLDER",
    "SCHEMA_VERSION",
    "SEEN",
    "SPEC",
    "Bundle",
    "BundleSpec",
    "ConformalSpec",
    "FileName",
    "GateSpec",
    "MetricSpec",
    "NetworkFormat",
    "OperatingPointSpec",
    "ParitySpec",
    "Precision",
    "ProvenanceSpec",
    "RecalibrationSpec",
    "Sha256",
    "Share",
    "WeightsSpec",
    "check_name",
    "describe_input",
    "is_bundle",
    "list_seen",
    "packaged_bundle",
    "read_bundle",
    "read_seen",
    "refuse_seen",
    "resolve_bundle",
    "write_bundle",
    "write_seen",
]
