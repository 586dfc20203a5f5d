"""The plain training loop: a folder, a DataLoader, per-image transforms, fp32. Runnable alone:

    python plain_loop.py DATA --network resnet18 --workers 2              # images/s
    python plain_loop.py DATA --epochs 20 --out FOLDER                    # trains to the end

DATA holds train/ and validation/. Nothing in here is slow on purpose: it is what a good engineer
writes before measuring anything, with the usual good schedule (AdamW, one cycle, label smoothing).
The last line printed is JSON. With --out every epoch is added to FOLDER/history.csv and the state
kept, so that a run that was cut continues; `seconds` counts the time of the process that was alive.
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
    started = time.time()
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts")
    parser.add_argument("--seconds", type=float, default=15, help="measure at least this long")
    parser.add_argument("--epochs", type=int, help="train for this many instead of measuring")
    parser.add_argument("--out", help="with --epochs: the folder for history.csv and the state")
    parser.add_argument("--started", type=float, default=started, help="of the process, epoch s")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    training, validation = make_loaders(args.data, args.batch, args.workers)
    model = NETWORKS[args.network](len(training.dataset.classes)).to(DEVICE)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    if args.epochs:
        train(model, criterion, optimizer, training, validation, args)
    else:
        print(json.dumps(measure(model, criterion, optimizer, training, args)))


def train_step(model, criterion, optimizer, images, labels):
    loss = criterion(model(images.to(DEVICE)), labels.to(DEVICE))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def measure(model, criterion, optimizer, training, args):
    """Images a second of the steps after the warm-up; an epoch's end is not a reason to stop."""
    model.train()
    steps, begin = 0, time.perf_counter()
    while True:
        for images, labels in training:
            train_step(model, criterion, optimizer, images, labels)
            steps += 1
            if steps == args.warmup:
                clock = time.perf_counter()
            elapsed = time.perf_counter() - clock if steps > args.warmup else 0
            if steps >= args.warmup + 2 and elapsed >= args.seconds:
                rate = (steps - args.warmup) * training.batch_size / elapsed
                return {"images_per_second": rate, "start_seconds": clock - begin}


def train(model, criterion, optimizer, training, validation, args):
    """One cycle over all epochs; a row an epoch in FOLDER/history.csv, the rest in state.pt."""
    steps = args.epochs * len(training)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    os.makedirs(args.out, exist_ok=True)
    state_file, history_file = (os.path.join(args.out, f) for f in ("state.pt", "history.csv"))
    done, spent = 0, 0.0
    rows = ["epoch,train_loss,validation_accuracy,seconds"]
    if os.path.exists(state_file):
        state = torch.load(state_file, map_location=DEVICE)
        done, spent, rows = state["done"], state["seconds"], state["rows"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    for epoch in range(done, args.epochs):
        model.train()
        total = 0.0
        for images, labels in training:
            total += train_step(model, criterion, optimizer, images, labels)
            scheduler.step()
        accuracy = evaluate(model, validation)
        seconds = spent + time.time() - args.started
        rows.append(f"{epoch + 1},{total / len(training):.4f},{accuracy:.6f},{seconds:.2f}")
        print(rows[-1], flush=True)
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"done": epoch + 1, "seconds": seconds, "rows": rows}
        torch.save(state, state_file + ".tmp")
        with open(history_file + ".tmp", "w", encoding="utf-8") as file:
            file.write("\n".join(rows) + "\n")
        os.replace(history_file + ".tmp", history_file)  # the state last: it decides what is done
        os.replace(state_file + ".tmp", state_file)


@torch.no_grad()
def evaluate(model, validation):
    model.eval()
    correct = 0
    for images, labels in validation:
        correct += (model(images.to(DEVICE)).argmax(1) == labels.to(DEVICE)).sum().item()
    return correct / len(validation.dataset)


if __name__ == "__main__":
    main()
