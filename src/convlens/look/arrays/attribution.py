"""Which pixels speak for a class: Grad-CAM, guided backpropagation, integrated gradients.

Captum does the attributing; this file chooses layers and targets, and leaves the model as it was.
Every view takes any `torch.nn.Module` with 2-D convolutions that returns logits, and

    x: normalized float, shape (N, channels, H, W), so that 0 is the data set's mean color; moved to
        the model's device.
    target: the class that is spoken for, one for all images or one for each; by default the
        predicted class of each.

and raises UserError for a target that is no class of the model.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import UserError
from convlens.inference.classifier import images_at_once
from convlens.models.hooks import blank_image, conv_relu_layers, hooked

with warnings.catch_warnings():
    # captum imports a progress bar that looks for Jupyter's widgets; neither is used here
    warnings.filterwarnings("ignore", "IProgress not found")
    from captum.attr import GuidedBackprop, IntegratedGradients, LayerGradCam, NoiseTunnel

LEAST_SIDE = 4  # units; a coarser Grad-CAM says little more than "somewhere in this quarter"


@contextmanager
def attributing(model: nn.Module) -> Iterator[None]:
    """Within the block: evaluation mode, gradients on, no ReLU in place (captum's hooks need both
    its input and its output). On leaving it, also by an exception, every module is as it was."""
    modes = {module: module.training for module in model.modules()}
    in_place: list[Any] = [m for m in model.modules() if getattr(m, "inplace", False)]
    try:
        model.eval()
        for module in in_place:
            module.inplace = False
        with torch.enable_grad():
            yield
    finally:
        for module in in_place:
            module.inplace = True
        for module, training in modes.items():
            module.training = training


def targets(model: nn.Module, x: Tensor, target: int | Sequence[int] | None = None) -> Tensor:
    """The class of each image that is spoken for, int64, shape (N,), on the model's device."""
    x = _at_home(model, x)
    with hooked(model, lambda *_: None), torch.no_grad():
        logits = model(x)
    if target is None:
        return logits.argmax(dim=1)
    chosen = torch.as_tensor(target, device=x.device).expand(len(x))
    for number in chosen.tolist():
        if not 0 <= number < logits.shape[1]:
            raise UserError(
                f"{type(model).__name__} has no class {number}; "
                f"choose a target from 0 to {logits.shape[1] - 1}"
            )
    return chosen


def grad_cam_layer(model: nn.Module, size: int = 64) -> str:
    """The last layer after a convolution's ReLU whose map is at least 4×4; where all maps are
    smaller, the last of the largest. size: side in pixels of the images."""
    sides: dict[str, int] = {}
    last: dict[str, str] = {}  # by module: captum sees the last use of one that is used again

    def hook(layer: str, module: nn.Module, inputs: tuple, output: object) -> None:
        last[_module_name(layer)] = layer
        if isinstance(output, Tensor) and output.dim() == 4:
            sides[layer] = min(output.shape[2:])

    with hooked(model, hook), torch.no_grad():
        model(blank_image(model, size))
    layers = [x for x in conv_relu_layers(model, size) if last[_module_name(x)] == x]
    least = min(LEAST_SIDE, max(sides[layer] for layer in layers))
    return [layer for layer in layers if sides[layer] >= least][-1]


def grad_cam(
    model: nn.Module,
    x: Tensor,
    target: int | Sequence[int] | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Grad-CAM, float32, shape (N, H, W), at least 0, in logits × (a map's units).

    Selvaraju et al. 2017, section 3: a layer's maps, each weighted by the mean gradient of the
    target's logit on it, are summed; what is below 0 is cut; then scaled bilinearly to the image.
    layer: a module's name, by default `grad_cam_layer`; of a module used several times, its last
    use counts. UserError where that is no map.
    """
    layer = grad_cam_layer(model, x.shape[-1]) if layer is None else layer
    module = dict(model.named_modules()).get(_module_name(layer))
    if module is None:
        raise UserError(f"{type(model).__name__} has no layer {layer!r}; choose a convolution's")
    chosen = targets(model, x, target)
    with attributing(model):
        coarse = LayerGradCam(model, module).attribute(
            _at_home(model, x), chosen, relu_attributions=True
        )
    if not isinstance(coarse, Tensor) or coarse.dim() != 4:
        raise UserError(f"layer {layer!r} has no map; choose a convolution's")
    return _array(F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=False))[:, 0]


def can_be_guided(model: nn.Module) -> bool:
    """Whether a nonlinearity is an `nn.ReLU`, which guided backpropagation needs."""
    return any(isinstance(module, nn.ReLU) for module in model.modules())


def guided_backprop(
    model: nn.Module, x: Tensor, target: int | Sequence[int] | None = None
) -> np.ndarray:
    """Guided backpropagation, float32, of the shape of x, of either sign, logits per unit of x.

    Springenberg et al. 2015 (Striving for Simplicity), section 3.4: the gradient of the target's
    logit, where each ReLU lets through only what is positive both forwards and backwards.
    UserError where no nonlinearity is an `nn.ReLU`: a `F.relu` cannot be guided.
    """
    if not can_be_guided(model):
        raise UserError(
            f"{type(model).__name__} has no nn.ReLU module, which guided backpropagation needs; "
            "choose another view, or write its nonlinearities as modules"
        )
    chosen = targets(model, x, target)
    with attributing(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")  # which it removes
        return _array(GuidedBackprop(model).attribute(_at_home(model, x).requires_grad_(), chosen))


def integrated_gradients(
    model: nn.Module,
    x: Tensor,
    target: int | Sequence[int] | None = None,
    *,
    steps: int = 32,
    samples: int = 8,
    noise: float = 0.4,
    seed: int = 0,
) -> np.ndarray:
    """Integrated gradients, float32, as x, (N, channels, H, W), of either sign, in logits.

    Sundararajan et al. 2017, section 3: the gradient of the target's logit, integrated in `steps`
    points on the straight way from the mean color (0) to x, times x. With samples = 0 an image's
    values sum to its logit minus the mean color's (completeness), but for the steps. Otherwise
    averaged over `samples` copies of x with Gaussian noise of standard deviation `noise`, in units
    of x (SmoothGrad, Smilkov et al. 2017: about a tenth of the range), drawn from `seed`; torch's
    own random state is left alone.
    """
    chosen = targets(model, x, target)
    x = _at_home(model, x)
    method = IntegratedGradients(model)
    # points of the way in memory at once: of larger images than 64 pixels as many as one has maps
    at_once = max(images_at_once(x.shape[-1], x.device), len(x)) if x.shape[-1] > 64 else None
    with attributing(model):
        if not samples:
            return _array(
                method.attribute(x, target=chosen, n_steps=steps, internal_batch_size=at_once)
            )
        # seeding seeds all cards, whatever the network is on
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            smoothed = NoiseTunnel(method).attribute(
                x,
                nt_samples=samples,
                nt_samples_batch_size=1,  # else samples × steps copies are in memory at once
                stdevs=float(noise),
                target=chosen,
                n_steps=steps,
                internal_batch_size=at_once,
            )
    return _array(smoothed)


def _at_home(model: nn.Module, x: Tensor) -> Tensor:
    """A copy of `x` on the model's device, apart from any graph that x is part of."""
    return x.detach().to(next(model.parameters(), x).device, copy=True)


def _array(values: Tensor | tuple) -> np.ndarray:
    assert isinstance(values, Tensor)  # which captum answers a tensor with
    return np.ascontiguousarray(values.detach().to("cpu", torch.float32).numpy())


def _module_name(layer: str) -> str:
    return layer.partition("#")[0]
