"""The plain loop given what torch offers on the shelf: bf16, channels-last, compile, fused AdamW.

    python tuned_loop.py DATA --workers 2 --compile

The data path stays (folder, DataLoader workers, per-image transforms). Compiling takes minutes on
a CPU; it happens in the warm-up and is told as `start_seconds`. The last line printed is JSON.
"""

import argparse
import json
import os
import time

import torch
from image_folder import make_loaders
from networks import NETWORKS
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts")
    parser.add_argument("--seconds", type=float, default=15, help="measure at least this long")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    training, _ = make_loaders(args.data, args.batch, args.workers)
    model = NETWORKS[args.network](len(training.dataset.classes))
    model = model.to(DEVICE, memory_format=torch.channels_last).train()
    forward = torch.compile(model) if args.compile else model
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, fused=True)

    def step(images, labels):
        images = images.to(DEVICE, memory_format=torch.channels_last)
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = forward(images)
        loss = criterion(logits.float(), labels.to(DEVICE))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # as everyone reads it, and as a clock needs it where work is queued

    steps, begin = 0, time.perf_counter()
    while True:
        for images, labels in training:
            step(images, labels)
            steps += 1
            if steps == args.warmup:
                clock = time.perf_counter()
            elapsed = time.perf_counter() - clock if steps > args.warmup else 0
            if steps >= args.warmup + 2 and elapsed >= args.seconds:
                rate = (steps - args.warmup) * args.batch / elapsed
                print(json.dumps({"images_per_second": rate, "start_seconds": clock - begin}))
                return


if __name__ == "__main__":
    main()
