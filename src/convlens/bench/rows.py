"""What is measured: the rows of the table and what each is meant to reach."""

from dataclasses import dataclass

CPU_SECONDS = (120.0, 60.0, 30.0)
GPU_SECONDS = (10.0, 3.0, 1.0)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    name: as `--only` takes it. must, target, moonshot: in `unit`. unit: "×" (ours over the peer),
    "s" or "%" (of a share in 0..1). larger_is_better: else smaller. decides: whether `--against`
    judges by it; seconds and shares of a percent swing too much from day to day to do so.
    """

    name: str
    title: str
    unit: str
    must: float
    target: float
    moonshot: float
    larger_is_better: bool = True
    decides: bool = True

    def show(self, value: float) -> str:
        """`value` with the row's unit, to the digits that mean something."""
        if self.unit == "%":
            return f"{100 * value:.3g} %"
        return f"{value:.3g} s" if self.unit == "s" else f"{value:.3g}×"


# A row a line, as in the table.
# fmt: off
_ROWS = (
    Row("resnet18", "resnet18 training against the plain loop", "×", 2.5, 4, 6),
    Row("resnet18-tuned", "resnet18 training against the tuned loop", "×", 1.5, 2.2, 3),
    Row("lenet5", "lenet5 training against the plain loop", "×", 4, 8, 12),
    Row("time-to-71", "cold start to 71 % against the plain ResNet-18 loop", "×", 10, 30, 60),
    Row("seconds-to-71", "cold start to 71 %", "s", *CPU_SECONDS, False, False),
    Row("matrix-rate", "resnet18 training, share of the bf16 matrix rate", "%", 0.3, 0.45, 0.6),
    Row("waiting", "share of a step waiting for data", "%", 0.02, 0.01, 0.005, False, False),
    Row("busy", "quick training beside a busy core, against the best fixed setting", "×",
        0.9, 1, 1.1),
    Row("inference", "convnet inference against eager fp32", "×", 2, 4, 6),
    Row("latency", "convnet inference of one image against eager fp32", "×", 1.5, 2, 4),
    Row("int8", "convnet inference in int8 against eager fp32", "×", 2, 4, 6),
    Row("explorer-image", "explorer: prediction and all maps of a new image", "s",
        0.15, 0.1, 0.05, False, False),
    Row("explorer-click", "explorer: a click on a map", "s", 0.1, 0.05, 0.03, False, False),
    Row("explorer-touch", "explorer: bars and maps of a picture that is being changed", "s",
        0.1, 0.05, 0.03, False, False),
    Row("explorer-page", "explorer: the page's files", "s", 1, 0.3, 0.1, False, False),
)
# fmt: on
ROWS = {row.name: row for row in _ROWS}
EXPLORER = tuple(name for name in ROWS if name.startswith("explorer-"))
