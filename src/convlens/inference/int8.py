"""A network in whole numbers of eight bits, which onnxruntime computes on a CPU.

Weights and maps are rounded to 256 steps or fewer: weights by a scale of each output channel, maps
by one of each map, found on training images (Jacob et al. 2018, "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference"). What that costs is measured, on
images that were not trained on, and refused where it is too much.
"""

import copy
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens import logs
from convlens.data.dataset import Split, center_crop
from convlens.errors import UserError
from convlens.files import make_parent, replacing, scratch
from convlens.inference.export import export
from convlens.models.layers.convolution import Conv2d

if TYPE_CHECKING:
    from convlens.inference.classifier import Classifier

CALIBRATION = 256  # training images that the maps' scales are found on
ALLOWED = 0.003  # of the accuracy, that rounding may cost
BATCH = 32  # images of a calibration step
OPSET = 18
# What is rounded. The rest, as a softmax, stays as it is.
OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "AveragePool", "GlobalAveragePool", "MaxPool", "Relu"]


@dataclass(frozen=True)
class Check:
    """What rounding costs. before, after: accuracies of the network as it was and in int8, 0..1.
    images: on so many. split: of that name."""

    before: float
    after: float
    images: int
    split: str

    def __str__(self) -> str:
        return (
            f"accuracy {self.after:.2%} in int8, {self.before:.2%} in fp32, on {self.images:,} "
            f"{self.split} images"
        )


class Int8(nn.Module):
    """The logits of a quantized network.

    content: an ONNX file from `images`, as `forward` takes them, to `logits`.
    Input: float32, (N, channels, H, W), normalized. Output: float32, (N, num_classes).
    """

    def __init__(self, content: bytes, in_channels: int):
        super().__init__()
        self.content, self.in_channels = content, in_channels
        self._session: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self._session is None:
            self._session = session(self.content)
        (logits,) = self._session.run(["logits"], {"images": x.float().cpu().numpy()})
        return torch.from_numpy(logits).to(x.device)

    def __getstate__(self) -> dict[str, Any]:
        """A copy opens a session of its own: none can be copied."""
        return {**self.__dict__, "_session": None}


def to_int8(
    classifier: "Classifier", train: Split, held_out: Split, name: str
) -> "tuple[Classifier, Check]":
    """The classifier with its network in int8, and what that has cost.

    Args:
        classifier: Its network is computed in float32.
        train: Images that it was trained on.
        held_out: Images that it was not trained on.
        name: Of that split.

    Raises:
        UserError: where the extra `export` is missing, the network cannot be exported, there are no
            images, or rounding costs more accuracy than it may.
    """
    need_packages()
    core = _Core(classifier)
    with logs.quiet("torch.onnx", ""), scratch("convlens-int8") as folder:
        plain, rounded = folder / "plain.onnx", folder / "int8.onnx"
        size = classifier.size
        torch.onnx.export(
            core,
            (torch.zeros(2, classifier.normalize.channels, size, size),),
            plain,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        quantize(plain, rounded, (classifier.inputs(each).numpy() for each in some(train)))
        content = rounded.read_bytes()
    found = classifier.with_model(Int8(content, classifier.normalize.channels))
    return found, check_int8(classifier, found.logits(held_out.images), held_out, name)


def export_int8(
    classifier: "Classifier", path: Path, train: Split, held_out: Split, name: str
) -> tuple[str, Check]:
    """Write an ONNX file as `export` does, without layers, in int8, and check it.

    Arguments and errors are those of `to_int8`; `path` ends in .onnx. Returns what has run it, with
    its version, and what int8 has cost.
    """
    need_packages()
    import onnx
    import onnxruntime

    def images(batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(center_crop(batch, classifier.loaded_size))

    with logs.quiet("torch.onnx", ""), scratch("convlens-int8") as folder:
        plain, rounded = folder / "plain.onnx", folder / "int8.onnx"
        export(classifier, plain, layers=())
        quantize(plain, rounded, map(images, some(train)))
        written = onnx.load(rounded)
        about = {each.key: each.value for each in onnx.load(plain).metadata_props}
        onnx.helper.set_model_props(written, about)
        content = written.SerializeToString()
    run, logits = session(content), []
    for start in range(0, len(held_out), BATCH):
        batch = images(np.asarray(held_out.images[start : start + BATCH]))
        logits.append(run.run(["logits"], {"images": batch})[0])
    check = check_int8(classifier, np.concatenate(logits or [np.zeros((0, 1))]), held_out, name)
    make_parent(path)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return f"onnxruntime {onnxruntime.__version__}", check


def check_int8(classifier: "Classifier", logits: np.ndarray, held_out: Split, name: str) -> Check:
    """What the accuracy on `held_out` was, and is by these logits, (N, classes).

    Raises UserError where there are no images, or where more is lost than ALLOWED.
    """
    if not len(held_out):
        raise UserError(
            "int8 is checked on images that were not trained on, and there are none; give a data "
            "set that has some with `data`",
            option="data",
        )
    labels, count = np.asarray(held_out.labels), len(held_out)
    before, after = (
        int((answers.argmax(axis=1) == labels).sum())
        for answers in (classifier.logits(held_out.images), logits)
    )
    check = Check(before / count, after / count, count, name)
    if before - after > ALLOWED * count:
        raise UserError(
            f"`int8` costs more than the {100 * ALLOWED:.1f} points that it may: {check}; leave it "
            "out",
            option="int8",
        )
    return check


def quantize(plain: Path, rounded: Path, batches: Iterator[np.ndarray]) -> None:
    """Write an ONNX file of a network in float32 as one in int8.

    batches: what its input `images` is given, to see how large its maps become.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            images = next(batches, None)
            return None if images is None else {"images": images}

    prepared = plain.with_name("prepared.onnx")
    quant_pre_process(plain, prepared)
    quantization.quantize_static(
        prepared,
        rounded,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=OPERATORS,
        per_channel=True,
        # seven bits for weights: without VNNI, a processor adds products in sixteen
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def some(train: Split) -> Iterator[np.ndarray]:
    """Batches of images to find the maps' scales on, from all of the split; the same every time."""
    count = min(CALIBRATION, len(train))
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:count])
    for start in range(0, count, BATCH):
        yield np.asarray(train.images[rows[start : start + BATCH]])


def session(file: Path | bytes) -> Any:
    """An onnxruntime session on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def need_packages() -> None:
    """Raise UserError where what int8 needs is not installed."""
    packages = ("onnx", "onnxscript", "onnxruntime")  # torch's exporter writes with the second
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"`int8` needs {missing[0]}; install it with `pip install {' '.join(packages)}`",
            option="int8",
        )


class _Core(nn.Module):
    """A classifier's network alone, from normalized images to logits."""

    def __init__(self, classifier: "Classifier"):
        super().__init__()
        self.model = copy.deepcopy(classifier.model).cpu().float().eval()
        for module in self.model.modules():
            if isinstance(module, Conv2d):
                module.algorithms = {}  # how this machine computes it

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)
