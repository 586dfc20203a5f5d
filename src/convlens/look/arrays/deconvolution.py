"""What in an image excites a unit: the deconvnet of Zeiler and Fergus 2014, section 2.1.

A unit's activation, all others of its layer set to zero, is carried back to the pixels: through
convolutions with their filters transposed, through maximum pools by the switches of the forward
pass (to the place that held the maximum), through ReLUs by a ReLU on what is carried back. For all
but the ReLU that is backpropagation (Springenberg et al. 2015, Striving for Simplicity, fig. 1), so
backpropagation does it here, with that one rule replaced on autograd's graph of this one pass. The
model itself gets no backward hook, and ReLUs called as functions, shared or in place are met too.

What the paper has not, goes as in backpropagation: a batch norm scales each channel by γ/√(σ² + ε),
without its shift; an average pool spreads evenly; a sum hands the same to both its branches; other
nonlinearities than ReLU pass by their derivative.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from convlens.models.hooks import check_maps, layer_outputs


def deconvolution(
    model: nn.Module,
    x: Tensor,
    layer: str,
    maps: Sequence[int],
    positions: Sequence[tuple[int, int]] | np.ndarray | None = None,
) -> np.ndarray:
    """One unit for each image of `x` projected back to that image's pixels.

    x: normalized float, shape (N, channels, H, W); moved to the model's device. maps: N indices,
    the map of each image's unit. positions: N units (down, across); None takes each map's
    strongest. Returns float32, shape (N, H, W, channels), in units of the normalized pixels, of
    either sign, linear in the activation; all 0 where that is not above 0, for the paper's maps are
    rectified. UserError for a layer or map that is not there.
    """
    parameter = next(model.parameters(), x)
    image = x.detach().to(parameter.device).requires_grad_()
    with torch.enable_grad():
        output = layer_outputs(model, image, [layer])[layer]
    check_maps(layer, output, maps)

    images = torch.arange(len(output), device=output.device)
    numbers = torch.as_tensor(maps, device=output.device)
    if positions is None:
        place = output[images, numbers].flatten(1).argmax(dim=1)
        down, across = place // output.shape[3], place % output.shape[3]
    else:
        down, across = torch.as_tensor(np.asarray(positions), device=output.device).T
    start = torch.zeros_like(output)
    unit = images, numbers, down, across
    start[unit] = output.detach()[unit].relu()
    _rectify_backward(output.grad_fn)
    (projection,) = torch.autograd.grad(output, image, start)
    return projection.permute(0, 2, 3, 1).to("cpu", torch.float32).contiguous().numpy()


def _rectify_backward(last: Node | None) -> None:
    """From `last` down, a ReLU hands back the rectified signal, whatever its own input was.

    The hooks sit on this graph and are freed with it.
    """
    assert last is not None  # the tensor hangs on a graph
    seen, pending = {last}, [last]
    while pending:
        node = pending.pop()
        if node.name() == "ReluBackward0":
            node.register_hook(lambda inputs, outputs: (outputs[0].relu(),))
        below = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= below
        pending += below
