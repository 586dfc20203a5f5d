"""A trained network made ready to answer fast: batch norms folded in, convolutions fused with what
follows them, channels-last, bf16."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn

from convlens.inference.fused import called, fuse_following
from convlens.models.hooks import image_channels
from convlens.models.memory import channels_last


class FastInference(nn.Module):
    """The logits of `model` in evaluation mode, several times as fast on a CPU.

    model: any module that torch.fx can trace; it is copied and left alone. dtype: of the products;
    in bf16 a logit is off by up to a percent or two of the largest logit.
    Input: float32, shape (N, channels, H, W), as the model's. Output: float32 logits, shape
    (N, num_classes).
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.dtype, self.in_channels = dtype, image_channels(model)
        network = fuse(model)
        fuse_following(network)
        network.recompile()
        self.network = channels_last(network.to(dtype))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.to(self.dtype, memory_format=torch.channels_last)).float()


class _Tracer(torch.fx.Tracer):
    """Takes a convolution of any kind as one step, our own too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def fuse(model: nn.Module) -> torch.fx.GraphModule:
    """A copy in which every batch norm that follows a convolution has become part of it.

    In evaluation mode it is a scale and a shift of each channel (Jacob et al. 2018, section 3.2).
    """
    model = copy.deepcopy(model).eval()
    fused = torch.fx.GraphModule(model, _Tracer().trace(model))
    modules: dict[str, nn.Module] = dict(fused.named_modules())
    calls = Counter(node.target for node in fused.graph.nodes if node.op == "call_module")
    for node in list(fused.graph.nodes):
        norm = called(node, modules)
        before = node.args[0] if node.args else None
        convolution = called(before, modules)
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(convolution, nn.Conv2d):
            continue
        assert isinstance(before, torch.fx.Node)
        if len(before.users) > 1 or calls[before.target] > 1:
            continue  # somebody else reads what comes before the norm, or calls the convolution
        fused.set_submodule(str(before.target), nn.utils.fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        fused.graph.erase_node(node)
    fused.delete_all_unused_submodules()
    fused.recompile()
    return fused
