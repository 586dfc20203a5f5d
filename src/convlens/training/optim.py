"""The optimizers, Muon among them, and the penalties on the weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.models.hooks import classifier_of
from convlens.optimizers import SGD, AdamW, Optimizer
from convlens.recipes.recipe import Recipe
from convlens.training.measuring import has_bf16

# Share of Muon's rate that AdamW has beside it: Muon's entries are 0.2 large where AdamW's are 1
# (Liu et al. 2025), so at this share vectors and the classifier move as fast as the rest.
VECTORS = 0.2


def weights(model: nn.Module) -> list[Tensor]:
    """What decay and penalties act on: matrices and kernels, not biases or batch norm's scales;
    nor what is frozen."""
    return [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]


def penalty(model: nn.Module, l1: float, l2: float) -> Tensor | float:
    """l1·Σ|w| + l2/2·Σw² over the weights."""
    total: Tensor | float = 0.0
    for w in weights(model) if l1 or l2 else ():
        total = total + l1 * w.abs().sum() + 0.5 * l2 * w.square().sum()
    return total


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's optimizers; together they hold every parameter once that is not frozen.

    Each group remembers its highest learning rate as `peak`, which the schedule multiplies; that of
    the layers below the classifier is lower by the recipe's `backbone_lr_scale`.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    head: list[Tensor] = []
    if recipe.optimizer == "muon" or recipe.backbone_lr_scale != 1:
        head = list(classifier_of(model, recipe.size)[1].parameters())
    own = {id(p) for p in head}
    parts = [(trained, 1.0)]
    if recipe.backbone_lr_scale != 1:
        parts = [(head, 1.0), ([p for p in trained if id(p) not in own], recipe.backbone_lr_scale)]
    groups = [
        {"params": chosen, "weight_decay": decay, "lr": share * recipe.learning_rate}
        for part, share in parts
        for chosen, decay in (
            ([p for p in part if p.ndim > 1], recipe.weight_decay),
            ([p for p in part if p.ndim <= 1], 0.0),
        )
    ]
    fused = all(p.device.type in ("cpu", "cuda", "mps") for p in model.parameters())
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, 0.999)
        optimizers: list[torch.optim.Optimizer] = [
            AdamW(groups, recipe.learning_rate, betas, fused=fused)
        ]
    elif recipe.optimizer == "sgd":
        optimizers = [
            SGD(
                groups,
                recipe.learning_rate,
                recipe.momentum,
                nesterov=recipe.momentum > 0,
                fused=fused,
            )
        ]
    else:
        # As Muon's author advises, the classifier and all vectors stay with AdamW.
        rate = recipe.backbone_lr_scale * recipe.learning_rate
        hidden = [p for p in trained if p.ndim > 1 and id(p) not in own]
        for group in groups:
            group["lr"] *= VECTORS
            group["params"] = [p for p in group["params"] if p.ndim <= 1 or id(p) in own]
        optimizers = [AdamW(groups, fused=fused)]
        if hidden:
            muon = Muon(hidden, rate, recipe.momentum, recipe.weight_decay)
            optimizers = [muon, *optimizers]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def highest_rate(optimizers: Iterable[torch.optim.Optimizer]) -> float:
    """The learning rate of the layers that learn fastest, as it is now."""
    return max(group["lr"] for optimizer in optimizers for group in optimizer.param_groups)


class Muon(Optimizer):
    """Momentum orthogonalized by Newton–Schulz (Jordan et al. 2024, "Muon"), for hidden layers.

    A kernel (out, in, h, w) is taken as a matrix with a row for each of its outputs. The update is
    scaled by 0.2·√max(rows, columns) (Liu et al. 2025, "Muon is scalable"), so that its entries are
    of the size of AdamW's and learning rates and decoupled weight decay carry over.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        # On a CPU what is not a matrix product waits for memory: each line is one pass over it.
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                nesterov = _last(p.grad.lerp(state["momentum"], group["momentum"]))
                matrix = nesterov.flatten(1)
                step = group["lr"] * 0.2 * math.sqrt(max(matrix.shape))
                update = _first(orthogonalize(matrix, -step).view(nesterov.shape))
                torch.add(update, p, alpha=1 - group["lr"] * group["weight_decay"], out=p)


def _last(kernel: Tensor) -> Tensor:
    """(out, in, h, w) → (out, h, w, in), as it lies in memory, so that flattening copies nothing.

    The order of a matrix's columns does not matter to its orthogonalization.
    """
    return kernel.movedim(1, -1)


def _first(kernel: Tensor) -> Tensor:
    """The inverse of `_last`."""
    return kernel.movedim(-1, 1)


# Rows of a matrix that are made orthogonal to each other; see `orthogonalize`.
BLOCK = 128


def orthogonalize(matrix: Tensor, scale: float = 1.0) -> Tensor:
    """`scale` times the nearest (semi-)orthogonal matrix, roughly, in bf16 where that is fast.

    Five steps of the quintic Newton–Schulz iteration with the coefficients of Jordan et al. 2024,
    x ← p(x·xᵀ)·x with p(g) = a + b·g + c·g²: singular values end between 0.7 and 1.2, far enough
    apart that bf16's rounding does not matter. Two things make it a quarter of a step's time less:

    Several steps need only one product with x: p(g)·x has the Gram matrix p(g)·g·p(g), so the steps
    run on the small Gram matrix alone. Rounding's own eigenvalues, which may be negative, grow with
    every step that x is not looked at; after three that is still harmless, after five it is not.
    Hence two and three.

    More than `BLOCK` rows are taken in blocks, each by itself: rows of different blocks stay as
    they are to each other, which costs no accuracy (docs/LOG.md) and half the products at 256 rows,
    three quarters at 512. Rows of zeros fill the last block; they stay zero.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    # emulated, bf16 takes ten times as long as fp32
    dtype = torch.bfloat16 if has_bf16(matrix.device.type) else torch.float32
    x = (matrix.T if tall else matrix).to(dtype)
    rows = x.shape[0]
    blocks = max(1, rows // BLOCK)
    x = F.pad(x, (0, 0, 0, -rows % blocks)).unflatten(0, (blocks, -1))
    square = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).square() + 1e-14
    x = torch.bmm(_polynomial(torch.bmm(x, x.mT) / square, steps=2) * square.rsqrt(), x)
    x = torch.bmm(_polynomial(torch.bmm(x, x.mT), steps=3) * scale, x).flatten(0, 1)[:rows]
    return x.T if tall else x


def _polynomial(gram: Tensor, steps: int) -> Tensor:
    """What `steps` steps multiply x by, from x's Gram matrix x·xᵀ; both (blocks, rows, rows)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    product = None
    while True:
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal(dim1=1, dim2=2).add_(a)
        product = p if product is None else torch.bmm(p, product)
        steps -= 1
        if not steps:
            return product
        gram = torch.bmm(torch.bmm(p, gram), p)


def descend(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    """One step of every optimizer down the gradient of `loss`."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a state of the optimizer, which torch itself does not look at.

    Raises LookupError, TypeError or ValueError for that of another one or of other parameters.
    """
    needed = [set(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)  # gives groups of an earlier torch what they lack
    for names, group in zip(needed, optimizer.param_groups, strict=True):
        if missing := names - group.keys():
            raise ValueError(f"a group without {min(missing)}")
    kinds = {frozenset(state) for state in optimizer.state.values()}
    if len(kinds) > 1:
        raise ValueError("parameters with states of different kinds")
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or (value.ndim and value.shape != parameter.shape):
                raise ValueError(f"{name} of another parameter")
