"""The networks. Each takes `num_classes` and returns logits; `predict_proba` gives the softmax."""

import typing
from collections.abc import Mapping
from typing import Any

from torch import nn

from convlens.errors import UserError
from convlens.fields import convert
from convlens.models.convnet import ConvNet
from convlens.models.lenet5 import LeNet5
from convlens.models.resnet18 import ResNet18

# By the name that recipes, run folders and weights files store.
MODELS: dict[str, type[nn.Module]] = {"LeNet5": LeNet5, "ConvNet": ConvNet, "ResNet18": ResNet18}

# Side of the largest images, pixels, that ConvNet looks at in full resolution unless told to.
MOST_FINE = 112

__all__ = ["MODELS", "ConvNet", "LeNet5", "ResNet18", "adapted", "build"]


def adapted(network: str, options: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The options, and with them those that images of `size` pixels call for.

    ConvNet halves a map four times, which leaves 4×4 of 64 pixels and 14×14 of 224; above
    MOST_FINE pixels its first convolution halves too, so that the last map is 4×4 to 7×7 and an
    image costs a quarter of what it would. An option that is given stays as it is. ResNet18 is made
    for 224 pixels and LeNet5 grows its first fully connected layer with them: both have nothing to
    adapt.
    """
    if network == "ConvNet" and size > MOST_FINE:
        return {**options, "stem_stride": options.get("stem_stride", 2)}
    return dict(options)


def build(
    network: str, options: Mapping[str, Any], num_classes: int, size: int, channels: int = 3
) -> nn.Module:
    """The network of that name; the one that flattens its maps is told the images' size.

    Args:
        network: A key of MODELS.
        options: Keyword arguments of its constructor, checked against its annotations.
        num_classes: Number of logits.
        size: Side of its images, pixels.
        channels: Of its images: 3 colors, or 1 for gray.

    Raises:
        ValueError: for an option that the constructor does not have or does not accept.
    """
    hints = typing.get_type_hints(MODELS[network].__init__)
    own = {"size": size, **options} if "size" in hints else dict(options)
    for name in own:
        if name not in hints or name in ("num_classes", "in_channels", "return"):
            raise ValueError(f"it has no option {name}")
    try:
        own = {name: convert(value, hints[name], name) for name, value in own.items()}
        if own.get("size", size) != size:
            raise ValueError(f"it is for images of {own['size']} pixels, and they have {size}")
        return MODELS[network](num_classes, in_channels=channels, **own)
    except (TypeError, UserError) as problem:
        raise ValueError(str(problem).replace("`", "")) from None
