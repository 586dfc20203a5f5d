"""Inference of `convnet`: eager fp32 against every faster way that keeps its logits."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convlens.models import ConvNet
from convlens.train.checkpoint import load_trained
from convlens.train.optimiser import initialise

# A way counts only if no logit is off by more than this share of the largest.
TOLERANCE = 0.02
Way = Callable[[Tensor], Tensor]  # images to logits
BATCHES = (1, 16, 64, 128, 256)


def network_and_images(weights: str | None, batch: int) -> tuple[nn.Module, Tensor]:
    """ConvNet (trained, if there is a weights file) and normalised images (batch, 3, 64, 64).

    The images are noise: no layer's time depends on the values.
    """
    torch.manual_seed(0)
    if weights is not None:
        model = load_trained(weights).model
    else:
        model = ConvNet(101)
        initialise(model, "kaiming")
    return model.float().eval(), torch.randn(batch, 3, 64, 64)


def fused(model: nn.Module, images: Tensor) -> Way:
    """fp32, batch norms folded into the convolutions."""
    return fuse(model)


def channels_last(model: nn.Module, images: Tensor) -> Way:
    """The same, the channels of a pixel side by side in memory."""
    network = fuse(model).to(memory_format=torch.channels_last)
    return lambda x: network(x.contiguous(memory_format=torch.channels_last))


def bf16(model: nn.Module, images: Tensor) -> Way:
    """The same in bf16."""
    return _in_bf16(fuse(model).to(torch.bfloat16, memory_format=torch.channels_last))


def compiled(model: nn.Module, images: Tensor) -> Way:
    """The same through torch.compile, weights taken as constants and laid out for the products.

    Raises whatever the compiler does, for instance where there is no C++ compiler.
    """
    from torch._inductor import config  # seconds to import, and only needed here

    network = fuse(model).to(torch.bfloat16, memory_format=torch.channels_last)
    run = _in_bf16(torch.compile(network))
    with config.patch(freezing=True):
        run(images)
    return run


def _in_bf16(network: Way) -> Way:
    return lambda x: network(x.to(torch.bfloat16, memory_format=torch.channels_last)).float()


WAYS = {way.__name__: way for way in (fused, channels_last, bf16, compiled)}


class _Tracer(torch.fx.Tracer):
    """Takes a convolution of any kind as one step, our own too."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d) or super().is_leaf_module(module, name)


def fuse(model: nn.Module) -> nn.Module:
    """A copy in which every batch norm that follows a convolution has become part of it.

    In evaluation mode it is a scale and a shift of each channel (Jacob et al. 2018, section 3.2).
    """
    model = model.eval()
    model = torch.fx.GraphModule(model, _Tracer().trace(model))
    modules = dict(model.named_modules())
    for node in list(model.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or not isinstance(modules[before.target], nn.Conv2d):
            continue
        joined = nn.utils.fuse_conv_bn_eval(modules[before.target], modules[node.target])
        model.set_submodule(before.target, joined)
        node.replace_all_uses_with(before)
        model.graph.erase_node(node)
    model.delete_all_unused_submodules()
    model.recompile()
    return model


@torch.inference_mode()
def inference_rate(weights: str | None, way: str, batch: int, seconds: float) -> dict[str, Any]:
    """Images/s of one of WAYS, once it is made ready, which takes `start_seconds`.

    `difference` is the largest difference of a logit from eager fp32, as a share of the largest
    logit.
    """
    model, images = network_and_images(weights, batch)
    expected = model(images)
    start = time.perf_counter()
    run = WAYS[way](model, images)
    difference = float((run(images) - expected).abs().max() / expected.abs().max())
    ready = time.perf_counter() - start
    run(images)  # the last of the warm-up
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        run(images)
        count += 1
    return {
        "way": way,
        "batch": batch,
        "images_per_second": count * batch / elapsed,
        "start_seconds": ready,
        "difference": difference,
    }


def inference_grid(
    weights: str | None, seconds: float, batches: Sequence[int] = BATCHES
) -> dict[str, Any]:
    """`inference_rate` of every way at every batch size, and the best that keeps to TOLERANCE."""
    grid = []
    for way in WAYS:
        for batch in batches:
            try:
                grid.append(inference_rate(weights, way, batch, seconds))
            except torch._dynamo.exc.TorchDynamoException as problem:
                print(f"{way} does not work here: {problem}", file=sys.stderr)
                break
    exact = [row for row in grid if row["difference"] <= TOLERANCE]
    return {"best": max(exact, key=lambda row: row["images_per_second"]), "grid": grid}
