"""The embedded data set: warped, colored glyphs on cluttered grounds, made on the spot.

It replaces Caltech-101 where there is no network: 101 classes, about 9,000 images of 64×64,
some of them grayscale, unequal class sizes, split 90/10. The glyphs come from the DejaVu fonts
that matplotlib ships. No class is the mirror image or an enlargement of another, so that flips
and crops are as harmless here as on photographs.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from convlens.data.progress import progress_bar
from convlens.fields import check_least
from convlens.files import mark, whole_folder

VERSION = 2  # part of the folder's name; raise it whenever the images change

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
)
SIZE = 64
CANVAS = 96  # pixels of a glyph as rendered once, before warping
DISTRACTORS = 3
GRAY_SHARE = 0.04
BATCH = 512

GROUPS = (  # prefix, names, glyphs
    ("digit_", "2 3 4 5 6 7 8 9", "23456789"),
    ("capital_", "a b d e f g h k l m n p q r s t u w x y z", "ABDEFGHKLMNPQRSTUWXYZ"),
    ("small_", "a b e f g h m r t", "abefghmrt"),
    ("greek_capital_", "gamma delta theta lambda xi pi sigma phi psi omega", "ΓΔΘΛΞΠΣΦΨΩ"),
    ("greek_", "alpha beta gamma delta zeta eta lambda mu xi pi rho sigma omega", "αβγδζηλμξπρσω"),
    ("cyrillic_", "zhe sha yu de be tse yery lje", "ЖШЮДБЦЫЉ"),
    ("", "ampersand at number_sign dollar percent question euro pound yen section", "&@#$%?€£¥§"),
    ("", "pilcrow copyright infinity integral root partial nabla plus_minus", "¶©∞∫√∂∇±"),
    ("", "divide not_equal approx spade heart club star note umbrella", "÷≠≈♠♥♣★♫☂"),
    ("", "snowman sun knight anchor airplane", "☃☼♞⚓✈"),
)
GLYPHS = {
    prefix + name: char
    for prefix, names, chars in GROUPS
    for name, char in zip(names.split(), chars, strict=True)
}


def make_demo(target: Path, seed: int = 0, progress: bool = True) -> Path:
    """Make the demo set as a new folder `target` with train/ and validation/; returns target.

    The same seed, from 0 up, gives the same files on the same machine. Raises UserError when target
    exists and is not empty, or cannot be written.
    """
    check_least("seed", seed, 0)
    names = sorted(GLYPHS)
    random = np.random.default_rng(seed)
    counts = class_sizes(len(names), random)
    labels = np.repeat(np.arange(len(names)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    train = number < np.repeat(counts * 9 // 10, counts)
    files = [
        f"{'train' if train[i] else 'validation'}/{names[labels[i]]}/image_{number[i] + 1:04d}.jpg"
        for i in range(len(labels))
    ]
    bank, first = _render_glyphs([GLYPHS[name] for name in names])
    bar = progress_bar(progress)
    with whole_folder(target) as folder, ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for path in sorted({os.path.dirname(file) for file in files}):
            (folder / path).mkdir(parents=True)
        mark(folder)

        def write(file: str, image: np.ndarray, gray: bool) -> None:
            picture = Image.fromarray(image)
            (picture.convert("L") if gray else picture).save(folder / file, quality=90)

        for start in bar.track(range(0, len(files), BATCH), description="Drawing the demo set"):
            rows = slice(start, start + BATCH)
            images = _draw(bank, first, labels[rows], random)
            gray = random.random(len(images)) < GRAY_SHARE
            list(pool.map(write, files[rows], images, gray))
    return Path(target)


def class_sizes(num_classes: int, random: np.random.Generator) -> np.ndarray:
    """int64, shape (num_classes,): from 30 to 400 images, few classes large, as in Caltech-101."""
    return random.permutation(30 + (370 * np.exp(-np.arange(num_classes) / 16)).astype(np.int64))


def _render_glyphs(chars: list[str]) -> tuple[torch.Tensor, np.ndarray]:
    """Each glyph in each font that has it, centered and scaled to one size.

    Returns the bank, float32, shape (M, 1, CANVAS, CANVAS), 0..1, and where each glyph starts in
    it, shape (len(chars) + 1,).
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [folder / f"{name}.ttf" for name in FONTS]
    charmaps = [FT2Font(path).get_charmap() for path in paths]
    fonts = [ImageFont.truetype(path, 100) for path in paths]
    bank, first = [], [0]
    for char in chars:
        for font, charmap in zip(fonts, charmaps, strict=True):
            if ord(char) in charmap:
                left, top, right, bottom = font.getbbox(char)
                fit = 0.8 * CANVAS / max(right - left, bottom - top)
                fitted = font.font_variant(size=100 * fit)
                left, top, right, bottom = fitted.getbbox(char)
                image = Image.new("L", (CANVAS, CANVAS))
                corner = (CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2
                ImageDraw.Draw(image).text(corner, char, fill=255, font=fitted)
                bank.append(np.asarray(image))
        first.append(len(bank))
    return torch.from_numpy(np.stack(bank)[:, None]) / 255, np.array(first)


def _draw(
    bank: torch.Tensor, first: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """A batch of images for labels of shape (N,): uint8, shape (N, SIZE, SIZE, 3)."""
    n = len(labels)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(random.uniform(low, high, (n, *shape)).astype(np.float32))

    # Ground: a color that drifts over the image, (N, 3, SIZE, SIZE), 0..255.
    base = uniform(30, 225, 1, 1, 1) + uniform(-50, 50, 3, 1, 1)
    image = torch.nn.functional.interpolate(
        base + uniform(-60, 60, 3, 3, 3), SIZE, mode="bicubic", align_corners=True
    )
    # Clutter: parts of other glyphs, mostly too large to be read and off the center.
    for _ in range(DISTRACTORS):
        angle = uniform(0, 2 * np.pi)
        center = uniform(0.5, 1.1, 1) * torch.stack([angle.cos(), angle.sin()], 1)
        mask = _warp(
            bank[random.integers(0, len(bank), n)],
            uniform(-3.1, 3.1),
            uniform(0.4, 1.8),
            uniform(-0.3, 0.3),
            center,
        )
        image = torch.lerp(image, uniform(0, 255, 3, 1, 1), mask * uniform(0.2, 0.6, 1, 1, 1))
    # The glyph itself, lighter or darker than the ground it stands on.
    chosen = random.integers(first[labels], first[labels + 1])
    mask = _warp(
        bank[chosen],
        uniform(-0.3, 0.3),
        uniform(0.55, 1.0),
        uniform(-0.2, 0.2),
        uniform(-0.2, 0.2, 2),
    )
    brightness = base.mean(1, keepdim=True)
    ink = uniform(0, 255, 3, 1, 1)
    away = torch.where(brightness < 128, 1, -1) * uniform(70, 160, 1, 1, 1)
    ink = (ink - ink.mean(1, keepdim=True) + brightness + away).clamp(0, 255)
    image = torch.lerp(image, ink, mask * uniform(0.8, 1, 1, 1, 1))
    noise = random.standard_normal((n, 3, SIZE, SIZE), dtype=np.float32)
    image += torch.from_numpy(noise) * uniform(2, 14, 1, 1, 1)
    return image.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _warp(
    masks: torch.Tensor,
    angle: torch.Tensor,
    scale: torch.Tensor,
    shear: torch.Tensor,
    center: torch.Tensor,
) -> torch.Tensor:
    """Turn (radians), scale, shear and shift each mask: (N, 1, CANVAS, CANVAS) → SIZE.

    scale 1 fills the image; center, shape (N, 2), is in -1..1 across the image.
    """
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # From a point of the image to the point of the mask that is drawn there: rows (x, y).
    linear = torch.stack([cos + shear * sin, sin - shear * cos, -sin, cos], 1).view(-1, 2, 2)
    offset = -linear @ center[:, :, None]
    grid = torch.nn.functional.affine_grid(
        torch.cat([linear, offset], 2), [len(masks), 1, SIZE, SIZE], align_corners=False
    )
    return torch.nn.functional.grid_sample(masks, grid, align_corners=False)
