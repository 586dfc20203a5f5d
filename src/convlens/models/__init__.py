"""The networks. Each takes `num_classes` and returns logits; `predict_proba` gives the softmax."""

from convlens.models.convnet import ConvNet
from convlens.models.lenet5 import LeNet5
from convlens.models.resnet18 import ResNet18

# By the name that recipes, run folders and weight files store.
MODELS = {"LeNet5": LeNet5, "ConvNet": ConvNet, "ResNet18": ResNet18}

__all__ = ["MODELS", "ConvNet", "LeNet5", "ResNet18"]
