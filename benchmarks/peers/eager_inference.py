"""Inference as it is usually served: the network in evaluation mode, eager, fp32.

    python eager_inference.py --batch 64 [--weights FILE] [--network ConvNet]

The network is ConvLens's own (what is compared is how it is run), its input random floats of the
right shape, ready in memory: decoding and normalizing are left out on both sides. The last line
printed is JSON.
"""

import argparse
import json
import os
import time

import torch

from convlens.bench.inference import classifier_and_images


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", help="a weights file; else the network as initialized")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=10, help="measure at least this long")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    classifier, images = classifier_and_images(args.weights, args.batch)
    model = classifier.model
    with torch.inference_mode():
        for _ in range(3):
            model(images)
        count, clock = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - clock) < args.seconds:
            model(images)
            count += 1
    print(json.dumps({"images_per_second": count * args.batch / elapsed}))


if __name__ == "__main__":
    main()
