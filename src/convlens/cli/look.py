"""`convlens look`: pictures of what a network sees."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from convlens.cli.options import Images, Run, RunData, finish, read, say_data
from convlens.data.reading import Reading
from convlens.errors import UserError
from convlens.files import as_unicode, make_folder
from convlens.logs import say

if TYPE_CHECKING:
    from convlens.data import Dataset
    from convlens.inference import Classifier
    from convlens.inference.prediction import Found
    from convlens.look import NamedImage, View

ViewName = Literal[
    "activations",
    "filters",
    "layers",
    "attribution",
    "occlusion",
    "invariance",
    "neighbors",
    "patches",
    "deconvolution",
    "growth",
    "feature-visualization",
    "embedding",
]


@dataclass(frozen=True)
class LookOptions(Reading):
    """Options of `convlens look`."""

    run: Run
    images: Images = ()
    """Files or folders; else the assignment's two, or the first two classes' first ones."""
    view: tuple[ViewName, ...] = ("activations", "filters")
    """What to draw; layers is a table, printed."""
    target: Annotated[str | None, arg(metavar="CLASS")] = None
    """The class that attribution, occlusion and invariance ask about, else the predicted one; and
    the one whose features are visualized, else the first ones."""
    layer: Annotated[str | None, arg(metavar="NAME")] = None
    """Whose maps to show, by the name that `--view layers` or a title tells; else the first two
    convolutions' activations, the first one's filters, patches, deconvolution and growth of the
    deepest layer that sees parts only, and the features of the logits."""
    map: tuple[int, ...] = ()
    """Which of its maps, by number; else all, the strongest, or the first."""
    data: RunData = None
    out: Path = Path("looks")
    """The folder for the pictures."""


OF_IMAGES = {"activations", "attribution", "occlusion", "invariance", "neighbors"}
OF_DATA = {"patches", "deconvolution", "growth", "embedding", "neighbors"}


def look(arguments: Sequence[str]) -> None:
    """Draw what a network sees: activations, filters, layers, and what speaks for a class.

    Images in folders that cannot be decoded are told on stderr, a line each, and the status is 1.
    """
    options = read(LookOptions, arguments, "look", look.__doc__)
    from convlens.look.arrays.layers import layer_table, to_text
    from convlens.look.views.names import own_names

    given = _find(options)
    views = list(_views(options, given))
    # Nothing is written before everything asked for has been found.
    if views:
        make_folder(options.out)
    if "layers" in options.view:
        say(to_text(layer_table(given.classifier.model, given.classifier.size)))
    names = own_names([view.name for _, view in views], [image for image, _ in views])
    for name, (_, view) in zip(names, views, strict=True):
        for path in dataclasses.replace(view, name=name).save(options.out):
            say(f"wrote      {as_unicode(path)}")
    finish(given.failed, given.left_out, any_answer=True)


@dataclass(frozen=True)
class _Given:
    """What the views show. dataset: None where no view needs one. snapshots: by epoch.

    failed, left_out: what there is beside images in the folders given, as `Found` has it.
    """

    classifier: "Classifier"
    images: "Sequence[NamedImage]"
    dataset: "Dataset | None"
    snapshots: "Mapping[int, Classifier]"
    failed: Sequence[tuple[str, str]]
    left_out: Sequence[str]


def _find(options: LookOptions) -> _Given:
    """Open what is needed, and no more. Raises UserError for what is not there."""
    from convlens.inference import Classifier
    from convlens.inference.prediction import Found
    from convlens.look.views.given import assigned_images, check_maps_of
    from convlens.training.run_folder import RunFolder

    classifier, run = Classifier.load(options.run), RunFolder(options.run)
    if options.layer is not None:
        check_maps_of(classifier, options.layer, options.map)
    if options.target is not None:
        classifier.label(options.target)
    snapshots = run.snapshots() if "growth" in options.view else {}
    images, found, dataset = [], Found(), None
    of_images = not OF_IMAGES.isdisjoint(options.view)
    if of_images and options.images:
        images, found = _read(classifier, options.images)
    if not OF_DATA.isdisjoint(options.view) or (of_images and not images):
        dataset = run.open_for(classifier, options.data, options)
        say_data(dataset)
        images = images or assigned_images(dataset)
    return _Given(classifier, images, dataset, snapshots, found.failed, found.left_out)


def _read(classifier: "Classifier", paths: Sequence[Path]) -> "tuple[list[NamedImage], Found]":
    """The images named, all of which must be there, and those in folders that can be decoded."""
    from convlens.inference.prediction import search
    from convlens.look.views.given import read_image

    images, found = [], search(paths)
    for path in dict.fromkeys(found.images):
        try:
            images.append(read_image(classifier, path))
        except UserError as problem:
            found.failed.append((str(path), str(problem)))
    for path, sentence in found.failed:
        if Path(path) in paths or not images:
            raise UserError(sentence)
    return images, found


def _views(options: LookOptions, given: _Given) -> "Iterator[tuple[str, View]]":
    """The views asked for, in that order, all but the table of layers; each with its image's name.

    That is "" for a view of several images or none.
    """
    from convlens import look as views

    classifier, dataset, images = given.classifier, given.dataset, given.images
    target, of_layer = options.target, (options.layer, options.map)
    found = None
    if {"patches", "deconvolution"} & {*options.view}:  # which are of the same ones
        found = views.find_patches(classifier, dataset, *of_layer)
    for name in dict.fromkeys(options.view):
        match name:
            case "activations" if options.layer is None and not options.map:
                for image in images:
                    for view in views.first_activations(classifier, image):
                        yield image.name, view
            case "activations":
                for image in images:
                    yield image.name, views.activations(classifier, image, *of_layer)
            case "filters":
                yield "", views.filters(classifier, *of_layer)
                if options.layer is not None:
                    yield "", views.kernels(classifier, options.layer, options.map)
            case "attribution":
                for image in images:
                    yield image.name, views.attribution(classifier, image, target)
            case "occlusion":
                for image in images:
                    yield image.name, views.occlusion(classifier, image, target)
            case "invariance":
                yield "", views.invariance(classifier, images, target)
            case "neighbors":
                yield "", views.neighbors(classifier, images, dataset)
            case "patches":
                yield "", views.patches(classifier, dataset, *of_layer, found=found)
            case "deconvolution":
                yield "", views.deconvolution(classifier, dataset, *of_layer, found=found)
            case "growth":
                yield "", views.growth(given.snapshots, dataset, *of_layer)
            case "feature-visualization":
                yield "", views.feature_visualization(classifier, *of_layer, target)
            case "embedding":
                yield "", views.embedding(classifier, dataset)
