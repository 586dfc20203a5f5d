"""A trained network as one file for other programs: ONNX, or torch.export's .pt2.

The file takes images as a decoder gives them and does the rest itself:

    images          uint8, (N, side, side, 3), R, G, B; any N. The side is `loaded_size` of the
                    metadata, to which ConvLens itself scales images by Pillow's bicubic filter.
    logits          float32, (N, C)
    probabilities   float32, (N, C): the softmax of the logits over the run's temperature
    a layer's name  float32, (N, channels, h, w): what the layer puts out

Class names, size, mean, standard deviation, temperature and origin go along as metadata: in ONNX as
the model's `metadata_props`, in .pt2 as the extra file `convlens.json`. Before the file has its
name it is loaded back, run by the program that will run it, and compared with the network.
"""

import copy
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convlens import formats, logs
from convlens.data.dataset import center_crop
from convlens.errors import UserError
from convlens.files import make_parent, replacing
from convlens.inference.calibration import TemperatureScaling
from convlens.models.hooks import blank_image, conv_relu_layers, layer_outputs
from convlens.models.layers.convolution import Conv2d

if TYPE_CHECKING:
    from convlens.inference.classifier import Classifier

TOLERANCE = 1e-3  # of an output's largest value: rounding stays a hundred times below it
OPSET = 18  # of ONNX; every onnxruntime since 1.14 (2023) reads it


@dataclass(frozen=True)
class Export:
    """A file that was written. outputs: their names. runner: what checked it. difference: the
    largest from torch's answer, as a share of the output's largest value."""

    path: Path
    outputs: tuple[str, ...]
    runner: str
    difference: float


def export(classifier: "Classifier", path: Path, layers: Sequence[str] | None = None) -> Export:
    """Write a network as one file for other programs, and check the file in its own runtime.

    Args:
        classifier: The network.
        path: The file: `.onnx`, or `.pt2` for torch.export, which needs torch alone to be run:
            `torch.export.load(path).module()(images)` returns the outputs as a dict.
        layers: Further outputs, by names as in `look.activations`; by default the layers after each
            convolution's ReLU.

    Raises:
        UserError: for another ending, where the extra `export` is not installed, for an unknown
            layer, and for a network that cannot be exported or is not the same any more; then
            nothing is written.
    """
    if path.suffix not in WRITERS:
        raise UserError(f"{path} must end in {' or '.join(WRITERS)}", option="path")
    network, metadata = _Portable(classifier, layers), _metadata(classifier)
    with logs.quiet("torch.onnx"):  # which every way to export speaks through
        return WRITERS[path.suffix](network, metadata, path)


def _write_onnx(network: "_Portable", metadata: dict[str, object], path: Path) -> Export:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter writes with it
    except ImportError as problem:
        raise UserError(
            f"ONNX needs {problem.name}; install it with "
            "`pip install onnx onnxscript onnxruntime`, or write a .pt2 file"
        ) from None
    program = _program(network)
    written = torch.onnx.export(
        program,
        (),
        input_names=["images"],
        output_names=list(network.outputs),
        dynamic_shapes={"images": {0: "batch"}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert written is not None  # as torch's exporter promises for dynamo=True
    written.model.metadata_props.update(
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in metadata.items()
        }
    )

    def check(file: Path) -> float:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> dict[str, Tensor]:
            answers = session.run(list(network.outputs), {"images": images.numpy()})
            return dict(zip(network.outputs, map(torch.from_numpy, answers), strict=True))

        return _largest_difference(network, run)

    make_parent(path)
    with replacing(path) as temporary:
        written.save(temporary)
        difference = check(temporary)
    return Export(path, network.outputs, f"onnxruntime {onnxruntime.__version__}", difference)


def _write_torch(network: "_Portable", metadata: dict[str, object], path: Path) -> Export:
    program = _program(network)
    buffer = io.BytesIO()  # torch itself writing to a full disk raises no OSError
    content = json.dumps(metadata, ensure_ascii=False)
    torch.export.save(program, buffer, extra_files={"convlens.json": content})
    make_parent(path)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
        loaded = torch.export.load(temporary).module()
        difference = _largest_difference(network, loaded)
    return Export(path, network.outputs, f"torch {torch.__version__}", difference)


WRITERS = {".onnx": _write_onnx, ".pt2": _write_torch}


class _Portable(nn.Module):
    """From images as users have them to named outputs; see this file's first lines."""

    def __init__(self, classifier: "Classifier", layers: Sequence[str] | None):
        super().__init__()
        self.model = copy.deepcopy(classifier.model).cpu().float().eval()
        for module in self.model.modules():
            if isinstance(module, Conv2d):
                module.algorithms = {}  # how this machine computes it, which no file should tell
        self.size, self.loaded_size = classifier.size, classifier.loaded_size
        self.normalize = copy.deepcopy(classifier.normalize).cpu()
        self.scaling = TemperatureScaling(classifier.temperature)
        self.layers = conv_relu_layers(self.model, self.size) if layers is None else list(layers)
        for name in {"images", "logits", "probabilities"}.intersection(self.layers):
            raise UserError(
                f"the layer {name} has the name of another input or output of the file; choose "
                "other layers with `layers`, or rename it in the module",
                option="layers",
            )
        with torch.no_grad():  # so that an unknown one is told before anything is done
            layer_outputs(self.model, blank_image(self.model, self.size), self.layers)
        self.outputs = ("logits", "probabilities", *self.layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.normalize(center_crop(images, self.size).permute(0, 3, 1, 2))
        outputs = layer_outputs(self.model, x, ["", *self.layers])  # "" is the model itself
        logits = outputs.pop("")
        return {
            "logits": logits,
            "probabilities": self.scaling(logits).softmax(dim=1),
            **outputs,
        }

    def images(self, count: int) -> Tensor:
        """Noise, the same at every call: uint8, (count, side, side, 3)."""
        generator = torch.Generator().manual_seed(count)
        shape = (count, self.loaded_size, self.loaded_size, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _program(network: _Portable) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad():
            program = torch.export.export(
                network, (network.images(2),), dynamic_shapes={"images": {0: batch}}, strict=False
            )
    except Exception as problem:  # of a user's own module anything can be raised
        what = str(problem).strip().partition("\n")[0]
        raise UserError(
            f"{type(network.model).__name__} cannot be exported ({type(problem).__name__}: "
            f"{what}); its forward must not depend on what is in the images or how many there are"
        ) from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it tells where on this machine the source lies
    return program


def _largest_difference(network: _Portable, run: Callable[[Tensor], dict[str, Tensor]]) -> float:
    """Of all outputs, for one image and for three; UserError where it is not rounding."""
    worst = 0.0
    for count in (1, 3):
        images = network.images(count)
        with torch.no_grad():
            expected, answers = network(images), run(images)
        for name, values in expected.items():
            largest = float(values.abs().max()) or 1.0
            difference = float((answers[name] - values).abs().max()) / largest
            if not difference <= TOLERANCE:
                raise UserError(
                    f"the exported file answers otherwise than the network: {name} is off by "
                    f"{difference:.1%} of its largest value; try the other format"
                )
            worst = max(worst, difference)
    return worst


def _metadata(classifier: "Classifier") -> dict[str, object]:
    return {
        "format": formats.FORMAT,
        "network": classifier.name,
        "class_names": list(classifier.class_names),
        "size": classifier.size,
        "loaded_size": classifier.loaded_size,
        "fit": classifier.fit,
        "mean": classifier.normalize.mean.tolist(),
        "std": classifier.normalize.std.tolist(),
        "temperature": classifier.temperature,
        "recipe": classifier.origin.recipe,
        "commit": classifier.origin.commit,
    }
