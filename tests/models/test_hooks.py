import pytest
import torch
from torch import nn

from convlens.errors import UserError
from convlens.models import ConvNet, LeNet5, ResNet18
from convlens.models.hooks import classifier_of


class ClassifierFirst(nn.Module):
    """Registers what decides before what is seen first, as a user's module may."""

    def __init__(self):
        super().__init__()
        self.decide = nn.Linear(6, 5)
        self.embed = nn.Linear(4, 6)
        self.see = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.decide(self.embed(self.see(x).mean(dim=(2, 3))).relu())


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (LeNet5(5), "fc3"),
        (ConvNet(5, squeeze_excite=True), "fc"),
        (ResNet18(5), "fc"),
        (ClassifierFirst(), "decide"),
    ],
)
def test_the_classifier_is_the_last_linear_layer_that_is_run(model, name):
    found, layer = classifier_of(model, 64)
    assert found == name
    assert layer is model.get_submodule(name)
    assert layer.out_features == 5


def test_looking_for_the_classifier_changes_nothing():
    model = LeNet5(5, batch_norm=True)
    model.bn1.eval()  # a part of it may be in another mode
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier_of(model, 64)
    assert model.training and not model.bn1.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_a_classifier_is_told():
    with pytest.raises(UserError, match="Sequential has no linear layer that decides"):
        classifier_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 64)
