"""A convolution with the addition and the ReLU that follow it, in one pass over its maps.

A map of 64×32×32 units is larger than a core's cache: read once to be added to and once more to be
cut off at zero, it costs as much time as many a convolution. oneDNN, which computes torch's
convolutions on CPUs, does both while the sums are still at hand, and takes the weights in the order
in which it reads them. `torch.compile` calls the same operators.
"""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, torch.relu)
IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation mode


class FusedConv2d(nn.Module):
    """`convolution(x)`, plus `other` where it adds, cut off at zero where it has a ReLU.

    convolution: its padding are zeros. Where oneDNN has no such operator, as on a GPU, for
    gradients and in an exported graph, and where a hook looks at one of them, the three are
    computed one after the other.
    Input: as the convolution's; other: of its output's shape. Output: as the convolution's.
    """

    def __init__(self, convolution: nn.Conv2d, relu: bool):
        super().__init__()
        self.convolution = convolution
        self.relu = nn.ReLU() if relu else nn.Identity()
        self._packed: tuple[Any, Tensor] | None = None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        if not self._has_operator(x, other):
            y = self.convolution(x)
            return self.relu(y if other is None else y + other)
        layer = self.convolution
        shape = (layer.padding, layer.stride, layer.dilation, layer.groups)
        weight = self._weight(x)
        name = "relu" if isinstance(self.relu, nn.ReLU) else None
        if other is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, weight, layer.bias, *shape, name or "none", [], None
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, weight, layer.bias, *shape, "add", None, name, [], None
        )

    def _has_operator(self, x: Tensor, other: Tensor | None) -> bool:
        if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return False
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or type(x) is not Tensor:
            return False
        if self.convolution._forward_hooks or self.relu._forward_hooks:
            return False
        if x.dtype == torch.bfloat16:
            if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
                return False
        elif x.dtype != torch.float32:
            return False
        return other is None or other.shape == self._output_shape(x)

    def _output_shape(self, x: Tensor) -> tuple[int, ...]:
        layer = self.convolution
        sides = (
            (n + 2 * int(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                x.shape[2:],
                layer.padding,
                layer.dilation,
                layer.kernel_size,
                layer.stride,
                strict=True,
            )
        )
        return (x.shape[0], layer.out_channels, *sides)

    def _weight(self, x: Tensor) -> Tensor:
        """The kernel as oneDNN reads it, made anew where it has been replaced or changed."""
        layer = self.convolution
        version = 0 if layer.weight.is_inference() else layer.weight._version
        known = (layer.weight.data_ptr(), version, layer.weight.dtype)
        if self._packed is None or self._packed[0] != known:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                layer.weight, layer.padding, layer.stride, layer.dilation, layer.groups, x.shape
            )
            self._packed = known, packed
        return self._packed[1]

    def __getstate__(self) -> dict[str, Any]:
        """A copy packs its own: torch copies no tensor that is in oneDNN's order."""
        return {**self.__dict__, "_packed": None}


def fuse_following(network: fx.GraphModule) -> None:
    """Have each convolution of a traced network do what follows it: an addition, a ReLU, or both.

    Only what nobody else reads is fused. The graph is left to be recompiled.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    for node in list(network.graph.nodes):
        if isinstance(called(node, modules), IDLE):  # what does nothing stands between the others
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
    for node in list(network.graph.nodes):
        layer = called(node, modules)
        if not isinstance(layer, nn.Conv2d) or not _is_plain(layer):
            continue
        chain, other = [node], []
        user = _only_user(node)
        adds = user is not None and user.op == "call_function" and user.target in ADDITIONS
        if user is not None and adds and not user.kwargs:  # alpha=0.1 is another sum
            other = [each for each in user.args if each is not node]
            if len(user.args) == 2 and len(other) == 1 and isinstance(other[0], fx.Node):
                chain.append(user)
                user = _only_user(user)
            else:
                other = []
        relu = user is not None and _is_relu(user, modules)
        if relu:
            chain.append(user)
        if len(chain) == 1:
            continue
        name = f"{node.target}_fused"
        while name in modules:  # a layer that is called twice
            name += "_again"
        modules[name] = FusedConv2d(layer, relu)
        network.add_submodule(name, modules[name])
        with network.graph.inserting_before(chain[-1]):
            fused = network.graph.call_module(name, (node.args[0], *other))
        chain[-1].replace_all_uses_with(fused)
        for each in reversed(chain):
            network.graph.erase_node(each)
    network.delete_all_unused_submodules()


def called(node: object, modules: dict[str, nn.Module]) -> nn.Module | None:
    """The module that a step of the graph calls, if it calls one."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return modules[str(node.target)]
    return None


def _only_user(node: fx.Node) -> fx.Node | None:
    """Who alone reads what a step gives; None where several do, or nobody."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    by_name = node.op == "call_method" and node.target == "relu"
    by_function = node.op == "call_function" and node.target in RELUS
    return by_name or by_function or isinstance(called(node, modules), nn.ReLU)


def _is_plain(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
