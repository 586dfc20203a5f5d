"""Beginning with trained weights: what a run takes from a file, and what it begins anew."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convlens.data.names import class_name
from convlens.data.normalize import LUMA
from convlens.errors import UserError
from convlens.files import as_unicode, on_disk
from convlens.inference import foreign_weights, weights_file
from convlens.inference.foreign_weights import IMAGENET_MEAN, IMAGENET_STD
from convlens.models import MODELS
from convlens.models.hooks import classifier_of
from convlens.recipes import RECIPES, Recipe
from convlens.training.config import RunConfig, absolute

# Options of a network that may be others than those it was trained with: they change no tensor,
# and nothing in evaluation.
_LOOSE = ("dropout", "drop_path")
# Not options of what is computed, but of what it is computed on.
_GIVEN = ("self", "num_classes", "size", "in_channels")
# What recipes that follow their weights take from them where they say nothing else.
_FOLLOWED = ("size", "crop_pct", "fit", "channels")


@dataclass(frozen=True)
class Pretrained:
    """A trained network to begin with.

    path: as it was given. digest: SHA-256 of the file, in hexadecimal. network, options: as
    `models.build` takes them. class_names: in the order of the classifier; none where the file does
    not tell them. about: what the file says of the images, by the names of `Recipe`'s fields. mean,
    std: what it normalizes by. classifier: the name of the layer that decides. tensors: by name;
    without those of the classifier where the classes are not known.
    """

    path: str
    digest: str
    network: str
    options: dict[str, Any]
    class_names: tuple[str, ...]
    about: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifier: str
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path | str) -> "Pretrained":
        """The network of a run folder (its `best` weights), of a weights file of ConvLens, or of
        torchvision's or timm's resnet18. Raises UserError for anything else."""
        file = Path(on_disk(as_unicode(path)))
        if file.is_dir() and (file / "best.safetensors").exists():
            file = file / "best.safetensors"
        elif not file.exists():
            raise UserError(
                f"{path} does not exist; give `weights` a run folder or a file of weights",
                option="weights",
            )
        if file.is_dir() or foreign_weights.is_ours(file):
            return cls._ours(str(path), file)
        tensors = foreign_weights.read_resnet18(file)
        return cls(
            path=str(path),
            digest=_digest(file),
            network="ResNet18",
            options=_complete("ResNet18", {}),
            class_names=(),
            about={"channels": 3},
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            classifier="fc",
            tensors=tensors,
        )

    @classmethod
    def _ours(cls, path: str, file: Path) -> "Pretrained":
        model, about = weights_file.read(file)
        said = {
            "size": about.size,
            "crop_pct": about.crop_pct,
            "channels": len(about.mean),
            "fit": about.fit,
        }
        return cls(
            path=path,
            digest=_digest(file),
            network=about.network,
            options=_complete(about.network, about.options),
            class_names=about.class_names,
            about=said,
            mean=about.mean,
            std=about.std,
            classifier=classifier_of(model, about.size)[0],
            tensors=dict(model.state_dict()),
        )

    def rows(self, classes: Sequence[str]) -> list[int] | None:
        """Which rows of the classifier stand for those classes; None where one is not known."""
        known = {class_name(name): row for row, name in enumerate(self.class_names)}
        wanted = [class_name(name) for name in classes]
        return [known[name] for name in wanted] if known.keys() >= set(wanted) else None

    def load_into(self, model: nn.Module, classes: Sequence[str]) -> bool:
        """Give a network of the same kind these weights; returns whether its classifier is theirs.

        A new classifier begins at zero, so that its first steps do not disturb the layers below by
        a random gradient (Kolesnikov et al. 2020, "Big Transfer", section 3.3).
        """
        rows = self.rows(classes)
        content = model.state_dict()
        for name, own in content.items():
            if name.rpartition(".")[0] != self.classifier:
                tensor = self.tensors.get(name, own)
            elif rows is None:
                tensor = torch.zeros_like(own)
            else:
                tensor = self.tensors[name][rows]
            content[name] = tensor
        model.load_state_dict(content)
        return rows is not None

    def for_channels(self, channels: int) -> "Pretrained":
        """The same network for gray images (1 channel) or for ones in color (3).

        Of a gray image in three channels, and of the luma of one in color, it says the same as
        before, but for the images' margins, where convolutions see a zero that is now another gray.
        """
        if channels == len(self.mean):
            return self
        kernels = self.tensors["conv1.weight"]
        luma = torch.tensor(LUMA)
        if channels == 3:  # the color's share of what was the gray
            tensors = {**self.tensors, "conv1.weight": kernels * luma.view(1, 3, 1, 1)}
            return replace(self, tensors=tensors, mean=self.mean * 3, std=self.std * 3)
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        gray_mean, gray_std = float(luma @ mean), float(luma @ std)
        # (g - m_c) / s_c, what each color's kernel was given, in terms of (g - m) / s
        summed = (kernels * (gray_std / std).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        shift = (kernels.sum(dim=(2, 3)) * ((gray_mean - mean) / std)).sum(dim=1)
        tensors = {**self.tensors, "conv1.weight": summed}
        if "conv1.bias" in tensors:
            tensors["conv1.bias"] = tensors["conv1.bias"] + shift
        else:
            tensors["bn1.running_mean"] = tensors["bn1.running_mean"] - shift
        return replace(self, tensors=tensors, mean=(gray_mean,), std=(gray_std,))


def begin_with_weights(config: RunConfig) -> RunConfig:
    """The configuration with all that its weights decide; as it is where it has none.

    `weights` becomes an absolute path, with its digest and normalization beside it, and a recipe
    that follows its weights has their network, and their `size`, `crop_pct`, `fit` and `channels`
    where these are still the recipe's own.

    Raises UserError for weights that cannot be read, or of another network than the recipe's.
    """
    if config.weights is None:
        return config
    found = Pretrained.read(config.weights)
    recipe = config.recipe
    if recipe.follows_weights:
        recipe = _following(recipe, found)
    _check_network(found, recipe)
    found = found.for_channels(recipe.channels)
    config = replace(
        config,
        recipe=recipe,
        weights=absolute([config.weights])[0],
        weights_digest=found.digest,
        weights_mean=found.mean,
        weights_std=found.std,
    )
    config.check()
    return config


def read_weights(config: RunConfig) -> Pretrained:
    """The network that a run begins with, for its recipe's channels.

    Raises UserError where it cannot be read or is not the one that the run was begun with.
    """
    assert config.weights is not None, "only a run with weights has any to read"
    found = Pretrained.read(config.weights)
    if found.digest != config.weights_digest:
        raise UserError(
            f"{config.weights} has changed since the run was begun; start a new run with `weights`",
            option="weights",
        )
    return found.for_channels(config.recipe.channels)


def freeze(model: nn.Module, size: int) -> None:
    """Have only the classifier learn: the gradients of all else are not computed any more.

    size: of a blank image that the model is run on once, pixels.
    """
    _, classifier = classifier_of(model, size)
    model.requires_grad_(False)
    classifier.requires_grad_(True)


def keep_frozen(model: nn.Module) -> None:
    """The mode of a network in training whose layers but the classifier are frozen: evaluation, so
    that batch norms use, and keep, the statistics that they came with."""
    model.eval()


def _following(recipe: Recipe, found: Pretrained) -> Recipe:
    """The recipe with the network of the weights, and with what it leaves to them."""
    if recipe.model_options and _complete(found.network, recipe.model_options) != found.options:
        raise UserError(
            f"recipe {recipe.name} takes the network as it is in {found.path}; leave out "
            "`model_options`, or train another recipe from these weights",
            option="model_options",
        )
    plain = RECIPES[recipe.name]() if recipe.name in RECIPES else recipe
    taken = {
        name: found.about[name]
        for name in _FOLLOWED
        if name in found.about and getattr(recipe, name) == getattr(plain, name)
    }
    return replace(recipe, model=found.network, model_options=dict(found.options), **taken)


def _check_network(found: Pretrained, recipe: Recipe) -> None:
    """Raise UserError unless the recipe's network is the one that the weights are of."""
    wanted = _complete(recipe.model, recipe.network_options)
    differing = [
        name
        for name in found.options.keys() & wanted.keys()
        if name not in _LOOSE and found.options[name] != wanted[name]
    ]
    if found.network != recipe.model or differing:
        others = " or ".join([*_recipes_of(found), "finetune"])
        what = found.network + "".join(
            f" with {name} {found.options[name]}" for name in sorted(differing)
        )
        own = recipe.model + "".join(f" with {name} {wanted[name]}" for name in sorted(differing))
        raise UserError(
            f"{found.path} is a {what}, and recipe {recipe.name} trains a {own}; begin {others} "
            "with these `weights`",
            option="weights",
        )
    with torch.device("meta"):
        model = recipe.build(2)
    expected: dict[str, Tensor] = model.state_dict()
    for name, tensor in expected.items():
        if name.rpartition(".")[0] == found.classifier or name == "conv1.weight":
            continue
        if (
            found.tensors.get(name, tensor).shape != tensor.shape
        ):  # LeNet5, whose first linear layer reads all of its maps
            raise UserError(
                f"{found.path} is a {found.network} for images of {found.about['size']} pixels, "
                f"which cannot take others; set `size` to {found.about['size']}",
                option=("weights", "size"),
            )


def _recipes_of(found: Pretrained) -> list[str]:
    """The recipes that train such a network."""
    recipes = {name: make() for name, make in RECIPES.items()}
    return [
        name
        for name, recipe in recipes.items()
        if not recipe.follows_weights
        and recipe.model == found.network
        and _strict(_complete(recipe.model, recipe.model_options)) == _strict(found.options)
    ]


def _strict(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _LOOSE}


def _complete(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A network's options with those that are left at their usual values; sequences as lists."""
    parameters = inspect.signature(MODELS[network]).parameters
    own = {name: p.default for name, p in parameters.items() if name not in _GIVEN}
    own |= {name: value for name, value in options.items() if name in own}
    return {name: list(v) if isinstance(v, list | tuple) else v for name, v in own.items()}


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
