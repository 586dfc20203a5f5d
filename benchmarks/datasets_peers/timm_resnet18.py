"""timm's resnet18 from scratch, with the defaults of the library's own train.py.

SGD with Nesterov momentum at 0.1 · batch / 256, weight decay 2e-5, cosine, label smoothing 0.1,
random crops of 8 % and more, flips, color jitter 0.4, batches of 128. Two defaults are meant for
300 epochs and are shortened as anybody would: the warm-up of 5 epochs is a tenth of a run that has
fewer than 50, and the schedule moves with every step (train.py's `--sched-on-updates`).

See protocol.py for how it is run.
"""

import math

import torch
from protocol import Clock, figures, options, planned_steps, reported_split, write, write_timing
from timm import create_model
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed


def main():
    args = options(__doc__, batch=128)
    torch.set_num_threads(args.threads)
    random_seed(args.seed)
    device = torch.device("cpu")
    classes = sorted(entry.name for entry in (args.data / "train").iterdir() if entry.is_dir())
    model = create_model("resnet18", num_classes=len(classes))
    data = resolve_data_config({"img_size": args.size}, model=model)

    class_map = {name: label for label, name in enumerate(classes)}

    def loader_of(split, training):
        dataset = create_dataset(
            "", args.data, split=split, is_training=training, class_map=class_map
        )
        return create_loader(
            dataset,
            input_size=data["input_size"],
            batch_size=min(args.batch, len(dataset)),
            is_training=training,
            color_jitter=0.4,
            interpolation="random" if training else data["interpolation"],
            mean=data["mean"],
            std=data["std"],
            crop_pct=data["crop_pct"],
            num_workers=args.workers,
            device=device,
        )

    train, validation = loader_of("train", True), loader_of("validation", False)
    per_epoch = len(train)
    epochs, steps = planned_steps(args, per_epoch)
    optimizer = create_optimizer_v2(
        model, opt="sgd", lr=0.1 * args.batch / 256, momentum=0.9, weight_decay=2e-5
    )
    warmup = min(5 * per_epoch, steps // 10)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=steps,
        warmup_epochs=warmup,
        warmup_lr=1e-5,
        min_lr=0,
        step_on_epochs=False,
        updates_per_epoch=1,  # so that what is called an epoch here is a step
    )
    criterion = LabelSmoothingCrossEntropy(0.1)
    clock, done = Clock(), 0
    for epoch in range(epochs):
        model.train()
        clock.epoch()
        last = min(steps, math.ceil(steps * (epoch + 1) / epochs) if args.measure else steps)
        for images, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            done += 1
            scheduler.step_update(num_updates=done)
            clock.step()
            if done == last:
                break
        found = measured(model, validation)
        print(f"epoch {epoch + 1}/{epochs}: validation accuracy {found['accuracy']:.4f}")
    if (split := reported_split(args.data)) != "validation":
        found = measured(model, loader_of(split, False))
    if args.measure:
        write_timing(args, clock.timing())
    else:
        write(args, found, steps / per_epoch, "timm")


@torch.inference_mode()
def measured(model, loader):
    model.eval()
    probabilities, labels = [], []
    for images, truth in loader:
        probabilities.append(model(images).softmax(1))
        labels.append(truth)
    return figures(torch.cat(probabilities).numpy(), torch.cat(labels).numpy())


if __name__ == "__main__":
    main()
