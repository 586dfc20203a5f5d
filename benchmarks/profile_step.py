"""Where a training step goes: one recipe's step by operator, with torch.profiler.

    python benchmarks/profile_step.py [RECIPE] [--data DIR] [--steps 10] [--out results/profile.png]

The step is the production loop's own. Every operator's own time is summed over the steps after a
first epoch of warm-up; what is shorter than the first `--rows` is one bar, "all others". On a GPU
the times are the kernels'. Prints the table, writes the picture.
"""

import argparse
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.profiler import ProfilerActivity, profile

from convlens import figures
from convlens.bench.training import make_trainer
from convlens.data import open_dataset
from convlens.figures.speed import profile as draw
from convlens.recipes import RECIPES
from convlens.training.device import choose
from convlens.training.step import train_step
from convlens.training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", choices=RECIPES, nargs="?", default="resnet18")
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    parser.add_argument("--steps", type=int, default=10, help="of an epoch; two epochs are run")
    parser.add_argument("--rows", type=int, default=14, help="operators shown")
    parser.add_argument("--out", type=Path, default=Path("results/profile.png"))
    args = parser.parse_args()

    recipe = RECIPES[args.recipe]()
    dataset = open_dataset(args.data, size=recipe.loaded_size)
    rows = np.arange(min(args.steps * recipe.batch_size, len(dataset.train)))
    few = replace(dataset, train=dataset.train.take(rows))
    machine = choose()
    on_gpu = machine.device.type == "cuda"
    measured = profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu])
    trainer = make_trainer(args.recipe, few, machine, epochs=2)
    step = seconds_a_step(trainer, measured)

    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {}
    for event in measured.key_averages():
        name = event.key.removeprefix("aten::")
        name = name.replace("autograd::engine::evaluate_function: ", "autograd: ")
        times[name] = getattr(event, own) / 1e6 / len(trainer.batches)
    longest = sorted(times.items(), key=lambda item: -item[1])
    shown = [*longest[: args.rows], ("all others", sum(t for _, t in longest[args.rows :]))]
    for name, seconds in shown:
        print(f"{name:<48} {1e3 * seconds:8.2f} ms {seconds / step:6.1%}")
    batch = trainer.batches.size
    title = f"A training step of {args.recipe}: {batch} images, {1e3 * step:.0f} ms"
    names, seconds = zip(*shown, strict=True)
    figure = draw(names, seconds, step, f"{title} on {machine.name}, {machine.precision}")
    print(f"wrote      {figures.save(figure, args.out)}")


def seconds_a_step(trainer: Trainer, measured: profile) -> float:
    """Two epochs of steps, of which `measured` sees the second; how long one of its steps takes."""
    state = trainer.start()
    state.network.train()
    seconds = 0.0
    for epoch in range(2):
        with measured if epoch else nullcontext():
            started = time.perf_counter()
            for batch in trainer.batches.epoch(epoch):
                stats = train_step(state, batch)
                stats.loss.item()  # waits for the device
            seconds = time.perf_counter() - started
    return seconds / len(trainer.batches)


if __name__ == "__main__":
    main()
