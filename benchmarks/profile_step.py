"""Where a training step goes: one recipe's step by operator, with torch.profiler.

    python benchmarks/profile_step.py [RECIPE] [--data DIR] [--steps 10] [--out results/profile.png]

The step is the production loop's own. Every operator's own time is summed over the steps after a
first epoch of warm-up; what is shorter than the first `--rows` is one bar, "all others". On a GPU
the times are the kernels'. Prints the table, writes the picture.
"""

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

from torch.profiler import ProfilerActivity, profile

from convlens import figures
from convlens.bench.training import train_for
from convlens.data import open_dataset
from convlens.figures.speed import profile as draw
from convlens.recipes import RECIPES
from convlens.training import loop
from convlens.training.device import choose


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", choices=RECIPES, nargs="?", default="resnet18")
    parser.add_argument("--data", type=Path, help="the data set; else as convlens finds it")
    parser.add_argument("--steps", type=int, default=10, help="of an epoch; two epochs are run")
    parser.add_argument("--rows", type=int, default=14, help="operators shown")
    parser.add_argument("--out", type=Path, default=Path("results/profile.png"))
    args = parser.parse_args()

    dataset = open_dataset(args.data)
    batch = RECIPES[args.recipe]().batch_size
    rows = range(min(args.steps * batch, len(dataset.train)))
    few = replace(
        dataset,
        train=dataset.train.take(list(rows)),
        validation=dataset.validation.take(range(8)),
    )
    machine = choose()
    steps = max(1, len(rows) // batch)
    on_gpu = machine.device.type == "cuda"
    measured = profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu])
    train_epoch = loop._train_epoch  # the steps alone, without what comes between epochs

    def profiled(epoch: int, *rest):
        with measured if epoch else nullcontext():
            return train_epoch(epoch, *rest)

    with mock.patch.object(loop, "_train_epoch", profiled):
        history = train_for(args.recipe, few, machine, epochs=2)
    step = history[1]["trained_seconds"] / steps

    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {}
    for event in measured.key_averages():
        name = event.key.removeprefix("aten::")
        name = name.replace("autograd::engine::evaluate_function: ", "autograd: ")
        times[name] = getattr(event, own) / 1e6 / steps
    longest = sorted(times.items(), key=lambda item: -item[1])
    shown = [*longest[: args.rows], ("all others", sum(t for _, t in longest[args.rows :]))]
    for name, seconds in shown:
        print(f"{name:<48} {1e3 * seconds:8.2f} ms {seconds / step:6.1%}")
    title = f"A training step of {args.recipe}: {batch} images, {1e3 * step:.0f} ms"
    names, seconds = zip(*shown, strict=True)
    figure = draw(names, seconds, step, f"{title} on {machine.describe().partition(' (')[0]}")
    print(f"wrote      {figures.save(figure, args.out)}")


if __name__ == "__main__":
    main()
