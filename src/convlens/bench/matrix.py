"""The machine's bf16 matrix rate, and how many operations training asks of it."""

import time
from typing import Any

import torch

from convlens.look.arrays.layers import layer_table
from convlens.recipes import RECIPES
from convlens.training.device import choose


def matrix_rate(seconds: float, sizes: tuple[int, ...] = (1024, 2048, 4096)) -> dict[str, Any]:
    """Floating-point operations a second of square bf16 matrix products: the best of `sizes`."""
    device = choose().device
    by_size = {}
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
        (a @ b).sum().item()
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds / len(sizes) or not count:
            (a @ b)[0, 0].item()  # reading a number waits for the device
            count += 1
        by_size[n] = 2 * n**3 * count / elapsed
    return {"flops_per_second": max(by_size.values()), "by_size": by_size}


def multiply_adds(recipe: str, num_classes: int = 101) -> int:
    """Of one forward pass of the recipe's network on one image."""
    made = RECIPES[recipe]()
    model = made.build(num_classes)
    return sum(layer.multiply_adds for layer in layer_table(model, made.size))
