"""fastai's xresnet18 from scratch, as the library's own script for Imagenette trains it.

That is `nbs/examples/train_imagenette.py` of fastai with another network: random crops and flips,
Ranger with one flat and one falling part (`fit_flat_cos`), label smoothing, batches of 64, a
learning rate of 0.01 and Mish.

See protocol.py for how it is run.
"""

import math
import random
from functools import partial

import torch
from fastai.vision.all import (
    Callback,
    FlipItem,
    ImageDataLoaders,
    LabelSmoothingCrossEntropy,
    Learner,
    Mish,
    Normalize,
    RandomResizedCrop,
    accuracy,
    get_image_files,
    imagenet_stats,
    ranger,
    set_seed,
    xresnet18,
)
from protocol import Clock, figures, options, planned_steps, reported_split, write, write_timing


class Timed(Callback):
    def __init__(self, clock):
        self.clock = clock

    def before_train(self):
        self.clock.epoch()

    def after_batch(self):
        if self.training:
            self.clock.step()


def main():
    args = options(__doc__, batch=64)
    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    dls = ImageDataLoaders.from_folder(
        args.data,
        train="train",
        valid="validation",
        item_tfms=[RandomResizedCrop(args.size, min_scale=0.35), FlipItem(0.5)],
        batch_tfms=Normalize.from_stats(*imagenet_stats),
        bs=args.batch,
        num_workers=args.workers,
    )
    model = xresnet18(n_out=dls.c, act_cls=Mish)
    clock = Clock()
    learn = Learner(
        dls,
        model,
        opt_func=partial(ranger, mom=0.9, sqr_mom=0.99, eps=1e-6, beta=0.0),
        loss_func=LabelSmoothingCrossEntropy(),
        metrics=accuracy,
        cbs=Timed(clock),
    )
    images, per_epoch = len(dls.train_ds), len(dls.train)
    epochs, steps = planned_steps(args, per_epoch)
    if steps < epochs * per_epoch:  # each epoch sees a part of the images, drawn anew
        dls.train.n = math.ceil(steps / epochs) * dls.train.bs
        dls.train.shuffle_fn = lambda _: random.sample(range(images), dls.train.n)
    learn.fit_flat_cos(epochs, lr=1e-2, wd=1e-2)

    files = get_image_files(args.data / reported_split(args.data))
    probabilities, labels = learn.get_preds(dl=dls.test_dl(files, with_labels=True))
    found = figures(probabilities.numpy(), labels.numpy())
    if args.measure:
        write_timing(args, clock.timing())
    else:
        write(args, found, steps / per_epoch, "fastai")


if __name__ == "__main__":
    main()
