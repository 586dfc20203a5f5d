"""A run that takes a few seconds."""

from pathlib import Path

import pytest

from convlens.training.run import train


def small_run(out: Path, data: Path, side: int = 16, **options) -> Path:
    """A finished run of LeNet5 on images of `side` pixels, in fp32; its cache lies beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVLENS_CACHE", str(out.parent / "cache"))
        train(
            "lenet5",
            out=out,
            data=data,
            batch_size=12,
            size=side,
            train_size=side,
            early_size=side,
            device="cpu",
            precision="fp32",
            **options,
        )
    return out
