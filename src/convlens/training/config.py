"""What decides a run: a recipe, a data set, a seed, a machine. Options are declared here once."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg

from convlens import formats
from convlens.data import Dataset, Reading, open_dataset
from convlens.errors import UserError
from convlens.fields import Bounds, check_bounds, flatten, from_dict, replace
from convlens.files import as_unicode, on_disk
from convlens.recipes import RECIPES, Recipe, find_recipe
from convlens.training.device import Machine
from convlens.training.duration import seconds_of
from convlens.training.pace import check_changes

# From a layer's name to its algorithms by map size, "8x8", as `Conv2d.algorithms` holds them.
ConvolutionPlan = dict[str, dict[str, str]]
Hidden = tyro.conf.Suppress

# Not options of the command that repeats a run: where the data lies, and what follows from others.
BEGUN = ("weights_digest", "weights_mean", "weights_std")
FOUND = ("data", "digest", "convolutions", "usual_threads", "time", *BEGUN)
# Beside these, what two runs may differ in that are the same run.
BESIDE = (*FOUND, "log")
# What follows from a `time`.
PLANNED = frozenset({"epochs", "steps_per_epoch", "replanned"})
# What is measured where nothing is asked for.
MEASURED = ("device", "precision", "threads")


@dataclass(frozen=True)
class RunConfig(Reading):
    """Everything that decides a run; `config.yaml` holds it.

    As asked for, it may leave the data set, the device and the precision open; as it is kept with a
    run, all are resolved.
    """

    recipe: Annotated[Recipe, arg(name="")]
    """What is trained, and how."""
    data: Annotated[str | None, arg(metavar="DIR")] = None
    """The data set; else CONVLENS_DATA, data/caltech101-64, the demo set."""
    seed: Annotated[int, Bounds(0)] = 0
    """Of the weights, the batches' order and all augmentation."""
    holdout: Annotated[float, Bounds(0, 0.9)] = 0.0
    """Share of train/ held out and monitored in the place of validation/, 0 to 0.9."""
    folds: Annotated[int, Bounds(0)] = 0
    """Cross-validation inside train/: so many runs, each with another part held out."""
    fold: Annotated[int, Bounds(0)] = 0
    """Of the folds only this one, counted from 1; 0 means all."""
    max_train_images: Annotated[int | None, Bounds(1)] = None
    """Train on about this many images at most, the same share of each class; by default all."""
    train_sample: Annotated[int | None, Bounds(1)] = None
    """Training images that the finished network is measured on, drawn at random; by default all,
    and with a `time` as many as take a thirtieth of it."""
    weights: Annotated[str | None, arg(name="from", metavar="WEIGHTS")] = None
    """Begin with the layers of this run or weights file: of ConvLens, or a ResNet-18 of torchvision
    or timm (.pth or .safetensors); the classifier is new where the classes are others."""
    teachers: Annotated[tuple[str, ...], arg(metavar="RUN …")] = ()
    """Runs whose mean probabilities are learned too, with distillation."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """cpu, cuda or mps; auto takes the fastest there is."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the training passes; auto measures which is faster."""
    time: Annotated[str | None, arg(metavar="TIME")] = None
    """How long the run may take, from its start to its last page: 90s, 5m, 1h30m. The number of
    epochs follows, and without a recipe that too."""
    replanned: Annotated[tuple[str, ...], arg(metavar="CHANGE …")] = ()
    """What a run with a `time` changed on the way, for who repeats it: 4:6x50 means that after 4
    epochs there were 6 of 50 steps each."""
    threads: Annotated[int | None, Bounds(1)] = None
    """Of a CPU that compute; by default a core each, and fewer as long as other programs need the
    cores and fewer are faster. In fp32 a run depends on the number in its last bits."""
    snapshots: bool = False
    """Keep the weights after epochs 1, 2, 5, 10, 20, 40, …, to see how features grew."""
    log: tuple[Literal["tensorboard", "csv"], ...] = ()
    """Write more curves: an event file for TensorBoard, or steps.csv with a row a step."""
    digest: Annotated[str, Hidden] = ""
    """What the data set is known by, should it move."""
    weights_digest: Annotated[str, Hidden] = ""
    """SHA-256 of the file that `weights` names, in hexadecimal."""
    weights_mean: Annotated[tuple[float, ...], Hidden] = ()
    """What its network normalizes by, which the run takes over: layers mean what they meant."""
    weights_std: Annotated[tuple[float, ...], Hidden] = ()
    """Likewise."""
    convolutions: Annotated[ConvolutionPlan, Hidden] = field(default_factory=dict)
    """The algorithms that were measured to be fastest; another one rounds otherwise."""
    usual_threads: Annotated[int | None, Hidden] = None
    """Of a CPU, where fewer than all were measured to be fastest with nothing else running."""

    @property
    def has_holdout(self) -> bool:
        """Whether a part of train/ is held out, and the best epoch on it is kept."""
        return bool(self.holdout or self.fold)

    @property
    def monitored(self) -> Literal["holdout", "validation"]:
        """The name of the split that is measured after every epoch."""
        return "holdout" if self.has_holdout else "validation"

    def check(self) -> None:
        """Raise UserError for options that make no sense, alone or together."""
        self.recipe.check()
        check_bounds(self)
        if self.holdout and self.folds:
            raise UserError(
                "`holdout` and `folds` do not go together; each holds images out",
                option=("holdout", "folds"),
            )
        if not (self.folds >= 2 and 1 <= self.fold <= self.folds) and (self.folds or self.fold):
            raise UserError(
                f"`fold` {self.fold} of `folds` {self.folds} is out of range; give at least 2 "
                "folds and one of them, counted from 1",
                option=("fold", "folds"),
            )
        if bool(self.recipe.distillation) != bool(self.teachers):
            raise UserError(
                "`distillation` and `teachers` go together; give both or neither",
                option=("distillation", "teachers"),
            )
        check_changes(self.replanned, self.recipe.epochs)
        if self.time is not None:
            seconds_of(self.time)
            if self.recipe.pretraining:
                raise UserError(
                    "`time` and `pretraining` do not go together, for its epochs are not planned; "
                    "give one of them",
                    option=("time", "pretraining"),
                )
        self._check_beginning()

    def _check_beginning(self) -> None:
        """Raise UserError for weights that are missing, and for what does not go with them."""
        recipe = self.recipe
        if self.weights is not None:
            if recipe.pretraining:
                raise UserError(
                    "`pretraining` and `weights` are two ways to begin; give one of them",
                    option=("pretraining", "weights"),
                )
            return
        if recipe.follows_weights:
            raise UserError(
                f"recipe {recipe.name} begins with trained weights; name a run or a file of them "
                "with `weights`",
                option="weights",
            )
        for name, asked in (
            ("freeze", recipe.freeze),
            ("backbone_lr_scale", recipe.backbone_lr_scale != 1),
        ):
            if asked:
                raise UserError(
                    f"`{name}` is about layers that are trained already; name a run or a file that "
                    "has them with `weights`, or leave it out",
                    option=(name, "weights"),
                )

    def differs_from(self, kept: "RunConfig") -> list[str]:
        """The options in which a kept run is not what this asks for; "auto" asks for nothing.

        Where the data and the weights lie is not compared: a run knows them by their digests.
        """
        asked, found = flatten(self), flatten(kept)
        if self.recipe.size == kept.recipe.size:  # what follows from it may be written or not
            asked, found = (
                flatten(dataclasses.replace(config, recipe=config.recipe.resolved()))
                for config in (self, kept)
            )
        if self.weights_digest and self.weights_digest == kept.weights_digest:
            asked["weights"] = found["weights"]
        elif self.weights_digest and kept.weights_digest:
            found["weights"] = None  # another file, if under the same name
        ignored = {*BESIDE, *(() if self.time is None else PLANNED)}
        if self.time is not None and self.train_sample is None:
            ignored.add("train_sample")
        names = [
            name
            for name in asked.keys() | found.keys()
            if ignored.isdisjoint((name.partition(".")[0], name.removeprefix("recipe.")))
        ]
        return sorted(
            name
            for name in names
            if asked.get(name) != found.get(name)
            and not (name in MEASURED and asked[name] in ("auto", None))
        )

    def open_dataset(self, data: Path | str | None = None) -> Dataset:
        """The run's data set, decoded for its recipe; `data`: where it lies now, if it moved."""
        return open_dataset(
            data or self.data,
            size=self.recipe.loaded_size,
            fit=self.recipe.fit,
            **dataclasses.asdict(self.reading),
        )

    def with_full_paths(self) -> "RunConfig":
        """The same, whatever the working folder will be."""
        return dataclasses.replace(
            self,
            exclude=self.exclude and absolute([self.exclude])[0],
            teachers=absolute(self.teachers),
        )

    def resolved(self, dataset: Dataset, machine: Machine) -> "RunConfig":
        """The same with nothing left open: that data set, that machine, its teachers' places."""
        return dataclasses.replace(
            self.with_full_paths(),
            # the file tells the network, whatever a later version makes of its size
            recipe=dataclasses.replace(self.recipe, model_options=self.recipe.network_options),
            data=str(dataset.place),
            digest=dataset.digest,
            device=str(machine.device),
            precision=machine.precision,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        values = dataclasses.asdict(self)
        names = ("teachers", "log", "replanned", "weights_mean", "weights_std")
        lists = {name: list(values[name]) for name in names}
        return {"format": formats.FORMAT, **values, **lists}

    @classmethod
    def from_dict(cls, values: Any) -> "RunConfig":
        """The inverse of `as_dict`, also for earlier formats.

        Raises UserError for unknown options and values of another type or range.
        """
        config = from_dict(cls, formats.read_config(values))
        config.check()
        return config

    def command(self) -> str:
        """The command that repeats this run, but for where the data lies."""
        parts = ["convlens", "train", self.recipe.name]
        recipe = RECIPES.get(self.recipe.name, lambda: Recipe(self.recipe.name, self.recipe.model))
        usual = flatten(RunConfig(recipe()))
        for name, value in flatten(self).items():
            if self._is_told(name) and usual.get(name) != value:
                parts += _as_arguments(name.removeprefix("recipe."), value)
        return shlex.join(parts)

    def _is_told(self, name: str) -> bool:
        """Whether an option, by its dotted name, is one of the command that repeats the run."""
        followed = name == "recipe.model" or name.startswith("recipe.model_options")
        if followed and self.recipe.follows_weights:
            return False
        return name.partition(".")[0] not in FOUND


def _as_arguments(name: str, value: Any) -> list[str]:
    """One option as the command line takes it."""
    option = "--from" if name == "weights" else "--" + name.replace("_", "-")
    if isinstance(value, bool):  # a flag, called no-… where it is on by default
        group, dot, flag = option.removeprefix("--").rpartition(".")
        return [option if value else f"--{group}{dot}no-{flag}"]
    if isinstance(value, tuple) and name in ("teachers", "log", "replanned"):
        return [option, *value]
    return [option, str(value)]


def make_config(recipe: str | Path | Recipe | RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """The configuration of a recipe, with the options of a run or of the recipe changed.

    Args:
        recipe: A recipe, its name, a file that holds one, or a configuration.
        options: Fields of `RunConfig` or of `Recipe`, nested ones as dictionaries or by dotted
            names.

    Raises:
        UserError: for an option that neither has, and for a value of another type or range.
    """
    if isinstance(recipe, RunConfig):
        config = recipe
    else:
        config = RunConfig(recipe if isinstance(recipe, Recipe) else find_recipe(recipe))
    own = {f.name for f in dataclasses.fields(RunConfig)} - {"recipe"}
    for_recipe = {name: value for name, value in options.items() if name not in own}
    config = replace(config, {name: options[name] for name in own & options.keys()})
    if for_recipe:
        config = dataclasses.replace(config, recipe=replace(config.recipe, for_recipe))
    config.check()
    return config


def absolute(paths: Sequence[Path | str]) -> tuple[str, ...]:
    """The paths as a configuration keeps them, for a run may be resumed from another folder."""
    return tuple(as_unicode(Path(on_disk(as_unicode(path))).resolve()) for path in paths)
