"""Ultralytics' classification network from scratch, with the library's own settings.

The smallest of its newest networks, `yolo26n-cls`, from its YAML file, with its augmentation
(RandAugment, random erasing, crops), its choice of optimizer and its own limit on time, `time`,
which adapts the schedule to what an epoch turns out to take. Batches are of 64 rather than 16
images, which is faster; the weights are the last ones, for the best are chosen on `validation/`.

See protocol.py for how it is run.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")  # before it is imported: nothing is sent or fetched
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import protocol
import torch
from ultralytics import YOLO, settings

MEASURED = 10.0  # seconds of training in the run that is timed
CHUNK = 64  # images that are predicted at once


def main():
    args = protocol.options(__doc__, batch=64)
    settings.update({"sync": False})
    torch.set_num_threads(args.threads)
    if args.measure:
        seconds = MEASURED
    else:
        timing = protocol.read_timing(args)
        left = 60 * args.minutes * (1 - protocol.MARGIN) - timing.start - timing.end
        seconds = max(1.0, left)
    with tempfile.TemporaryDirectory() as folder:
        model = YOLO("yolo26n-cls.yaml", task="classify")
        model.train(
            data=str(args.data.resolve()),
            time=seconds / 3600,
            imgsz=args.size,
            batch=args.batch,
            seed=args.seed,
            workers=args.workers,
            device="cpu",
            pretrained=False,
            plots=False,
            project=folder,
            name="run",
        )
        trained = YOLO(Path(folder) / "run" / "weights" / "last.pt")
    epochs = model.trainer.epoch + 1
    found = measured(trained, args.data / protocol.reported_split(args.data), args.size)
    if args.measure:  # all but the training, together
        around = protocol.elapsed() - MEASURED
        protocol.write_timing(args, protocol.Timing(max(0.0, around), 0.0, 0.0, 0.0))
    else:
        protocol.write(args, found, epochs, "ultralytics")


def measured(model, split, size):
    classes = {name: label for label, name in model.names.items()}
    files = sorted(path for path in split.glob("*/*") if path.is_file())
    probabilities, labels = [], [classes[path.parent.name] for path in files]
    for start in range(0, len(files), CHUNK):
        chunk = [str(path) for path in files[start : start + CHUNK]]
        for result in model.predict(chunk, imgsz=size, device="cpu", verbose=False):
            probabilities.append(result.probs.data)
    return protocol.figures(torch.stack(probabilities).numpy(), labels)


if __name__ == "__main__":
    main()
