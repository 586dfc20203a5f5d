"""A folder of images and per-image transforms, as a training script written today has them.

torchvision's ImageFolder and transforms do this on PIL images. torchvision cannot be installed
beside every build of torch, so the same operations are written out here with the same Pillow and
torch calls that it makes, in the same order and with its defaults; nothing is slower than there.
"""

import math
import os
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, as everyone copies them
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")


class ImageFolder(Dataset):
    """root/class/image: opens, decodes and transforms one file an item."""

    def __init__(self, root, transform):
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        self.samples = [
            (os.path.join(root, name, file), label)
            for label, name in enumerate(self.classes)
            for file in sorted(os.listdir(os.path.join(root, name)))
            if file.lower().endswith(SUFFIXES)
        ]
        self.transform = transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        return self.transform(image), label


def random_resized_crop(image, size, scale=(0.35, 1.0), ratio=(3 / 4, 4 / 3)):
    """torchvision's RandomResizedCrop: ten tries for a crop that fits, else the whole image."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = random.randint(0, width - w), random.randint(0, height - h)
            break
    else:
        x, y, w, h = 0, 0, width, height
    return image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR)


def color_jitter(image, amount=0.3):
    """torchvision's ColorJitter(amount, amount, amount): three factors in a random order."""
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    random.shuffle(enhancers)
    for enhancer in enhancers:
        image = enhancer(image).enhance(random.uniform(1 - amount, 1 + amount))
    return image


def to_tensor(image):
    """PIL image → float (3, H, W) in 0..1, then normalized."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return tensor.to(torch.float32).div(255).sub_(MEAN).div_(STD)


def train_transform(image, size=64):
    image = random_resized_crop(image, size)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return to_tensor(color_jitter(image))


def validation_transform(image, size=64):
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return to_tensor(image)


def _seed_worker(worker):
    # a worker is a copy of its parent, Python's generator included: without this all draw alike
    random.seed(torch.initial_seed())
    torch.set_num_threads(1)


def make_loaders(data, batch, workers):
    """(training, validation) DataLoaders over data/train and data/validation (val, valid)."""
    common = {"num_workers": workers, "worker_init_fn": _seed_worker}
    common["persistent_workers"] = workers > 0
    names = ("validation", "val", "valid")
    held_out = next(name for name in names if os.path.isdir(os.path.join(data, name)))
    training = ImageFolder(os.path.join(data, "train"), train_transform)
    validation = ImageFolder(os.path.join(data, held_out), validation_transform)
    return (
        DataLoader(training, min(batch, len(training)), shuffle=True, drop_last=True, **common),
        DataLoader(validation, 256, **common),
    )
