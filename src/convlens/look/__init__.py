"""What a network sees, as views that draw, save and show themselves.

    view = look.activations(classifier, "a.jpg", layer="conv1")
    view.plot(), view.save("looks/"), view.arrays["maps"]

`look.arrays` has the functions that compute, for any `torch.nn.Module` with 2-D convolutions.
"""

from convlens.look import arrays
from convlens.look.view import Table, View
from convlens.look.views.given import (
    NamedImage,
    assigned_images,
    describe_prediction,
)
from convlens.look.views.of_data import (
    deconvolution,
    embedding,
    find_patches,
    growth,
    patches,
)
from convlens.look.views.of_image import (
    activations,
    attribution,
    first_activations,
    invariance,
    neighbors,
    occlusion,
)
from convlens.look.views.of_network import feature_visualization, filters, kernels, layers

__all__ = [
    "NamedImage",
    "Table",
    "View",
    "activations",
    "arrays",
    "assigned_images",
    "attribution",
    "deconvolution",
    "describe_prediction",
    "embedding",
    "feature_visualization",
    "filters",
    "find_patches",
    "first_activations",
    "growth",
    "invariance",
    "kernels",
    "layers",
    "neighbors",
    "occlusion",
    "patches",
]
