"""Optimizers, learning-rate schedules, initialization, penalties and weight averaging."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from convlens.recipes.recipe import Recipe


def initialize(model: nn.Module, scheme: str) -> None:
    """Set the weights of convolutions and linear layers in place; biases to zero.

    "kaiming": normal, He et al. 2015 (Delving Deep into Rectifiers), fan out for convolutions as in
    their ResNet. "xavier": uniform, Glorot and Bengio 2010. "default": as PyTorch made them.
    """
    if scheme == "default":
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if scheme == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                mode = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def weights(model: nn.Module) -> list[Tensor]:
    """What decay and penalties act on: matrices and kernels, not biases or batch norm's scales."""
    return [p for p in model.parameters() if p.ndim > 1]


def penalty(model: nn.Module, l1: float, l2: float) -> Tensor | float:
    """l1·Σ|w| + l2/2·Σw² over the weights."""
    total: Tensor | float = 0.0
    for w in weights(model) if l1 or l2 else ():
        total = total + l1 * w.abs().sum() + 0.5 * l2 * w.square().sum()
    return total


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's optimizers; together they hold every parameter once.

    Each group remembers its highest learning rate as `peak`, which the schedule multiplies.
    """
    decay = weights(model)
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": recipe.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda", "mps") for p in model.parameters())
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, 0.999)
        optimizers = [torch.optim.AdamW(groups, recipe.learning_rate, betas, fused=fused)]
    elif recipe.optimizer == "sgd":
        optimizers = [
            torch.optim.SGD(
                groups, recipe.learning_rate, recipe.momentum, nesterov=True, fused=fused
            )
        ]
    else:
        # As Muon's author advises, the classifier and all vectors stay with AdamW.
        *hidden, classifier = decay
        groups[0]["params"] = [classifier]
        optimizers = [
            Muon(hidden, recipe.learning_rate, recipe.momentum, recipe.weight_decay),
            torch.optim.AdamW(groups, 0.2 * recipe.learning_rate, fused=fused),
        ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalized by Newton–Schulz (Jordan et al. 2024, "Muon"), for hidden layers.

    A kernel (out, in, h, w) is taken as a matrix with a row for each of its outputs. The update is
    scaled by 0.2·√max(rows, columns) (Liu et al. 2025, "Muon is scalable"), so that its entries are
    of the size of AdamW's and learning rates and decoupled weight decay carry over.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
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
    """`scale` times the nearest (semi-)orthogonal matrix, roughly, in bf16.

    Five steps of the quintic Newton–Schulz iteration with the coefficients of Jordan et al. 2024,
    x ← p(x·xᵀ)·x with p(g) = a + b·g + c·g²: singular values end between 0.7 and 1.2, far enough
    apart that bf16's rounding does not matter. Two things make it a quarter of a step's time less:

    Several steps need only one product with x: p(g)·x has the Gram matrix p(g)·g·p(g), so the steps
    run on the small Gram matrix alone. Rounding's own eigenvalues, which may be negative, grow with
    every step that x is not looked at; after three that is still harmless, after five it is not.
    Hence two and three.

    More than `BLOCK` rows are taken in blocks, each by itself: rows of different blocks stay as
    they are to each other, which costs no accuracy (docs/LOG.md) and half the products at 256 rows,
    three quarters at 512.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    rows = x.shape[0]
    blocks = max(1, rows // BLOCK)
    x = x.unflatten(0, (blocks if rows % blocks == 0 else 1, -1))
    square = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).square() + 1e-14
    x = torch.bmm(_polynomial(torch.bmm(x, x.mT) / square, steps=2) * square.rsqrt(), x)
    x = torch.bmm(_polynomial(torch.bmm(x, x.mT), steps=3) * scale, x).flatten(0, 1)
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


def schedule(kind: str, progress: float, warmup: float) -> float:
    """Share of the highest learning rate to use at `progress`, the share of all steps done, [0, 1).

    "cosine": linear warm-up, then half a cosine to zero (Loshchilov and Hutter 2017, without
    restarts). "onecycle": cosine from 1/25 up over the first 30 %, cosine down to zero over the
    rest (Smith and Topin 2018). "constant": 1.
    """
    if kind == "constant":
        return 1.0
    if kind == "onecycle":
        warmup = 0.3
        if progress < warmup:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / warmup)) / 2
    elif progress < warmup:
        return progress / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def set_learning_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share


def descend(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    """One step of every optimizer down the gradient of `loss`."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


class Average:
    """An average of a model's weights and batch-norm statistics over the steps.

    Exponential: the decay grows from 0 towards `decay` as (1 + t) / (10 + t), so that the random
    first weights are soon forgotten. With `swa`, the last share of the steps, every step in it
    counts the same instead (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima",
    algorithm 1, whose extra pass for batch norm is spared by averaging its statistics too). With
    neither, the average is the model itself.
    """

    def __init__(self, model: nn.Module, decay: float, swa: float = 0.0):
        self.decay, self.swa, self.steps, self.source = decay, swa, 0, model
        self.model = copy.deepcopy(model).requires_grad_(False) if decay or swa else model

    @torch.no_grad()
    def update(self, progress: float = 0.0) -> None:
        """After a step; progress: the share of all steps done before it, [0, 1)."""
        if self.model is self.source:
            return
        if not self.swa:
            self.steps += 1
            weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        elif progress < 1 - self.swa:
            weight = 1.0
        else:
            self.steps += 1
            weight = 1 / self.steps
        mine, theirs = self.model.state_dict(), self.source.state_dict()
        floats = [k for k, v in mine.items() if v.is_floating_point()]
        torch._foreach_lerp_([mine[k] for k in floats], [theirs[k] for k in floats], weight)
        for k in mine.keys() - set(floats):
            mine[k].copy_(theirs[k])

    def state_dict(self) -> dict:
        """For the training state; the average's own weights only where there is an average."""
        own = None if self.model is self.source else self.model.state_dict()
        return {"steps": self.steps, "model": own}

    def load_state_dict(self, state: dict) -> None:
        """The inverse of `state_dict`."""
        self.steps = state["steps"]
        if self.model is not self.source:
            self.model.load_state_dict(state["model"])
