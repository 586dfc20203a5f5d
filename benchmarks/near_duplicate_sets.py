"""Sets of images without a duplicate, of several kinds, for `near_duplicates.py`.

Each function takes how many images to make and a random generator, and returns RGB images.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Random = np.random.Generator
Images = list[Image.Image]


def _smooth(side: int, cells: int, random: Random) -> np.ndarray:
    """Noise without an edge, (side, side, 3), -0.5..0.5."""
    small = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) / 255 - 0.5


def _noisy(pixels: np.ndarray, noise: float, random: Random) -> Image.Image:
    pixels = pixels + random.normal(0, noise, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


def digits(count: int, random: Random) -> Images:
    """Handwritten ones of 8×8 pixels; scikit-learn has 1,797."""
    from sklearn.datasets import load_digits

    pixels = (load_digits().images * 255 / 16).astype(np.uint8)
    return [Image.fromarray(image).convert("RGB") for image in pixels[:count]]


def glyphs(count: int, random: Random) -> Images:
    """Digits as MNIST has them, white on black, 28×28, in eight fonts, turned and stretched."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(f, 76) for f in sorted(folder.glob("DejaVuS*.ttf"))]
    images = []
    for _ in range(count):
        image = Image.new("L", (112, 112))
        font = fonts[random.integers(len(fonts))]
        text = str(random.integers(10))
        ImageDraw.Draw(image).text((56, 56), text, fill=255, font=font, anchor="mm")
        linear = np.eye(2) + random.uniform(-0.2, 0.2, (2, 2))
        offset = 56 - linear @ (56, 56) + random.uniform(-6, 6, 2)
        affine = np.column_stack([linear, offset]).flatten().tolist()
        image = image.transform(
            image.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
        )
        images.append(image.resize((28, 28), Image.Resampling.BICUBIC).convert("RGB"))
    return images


def _drawing(random: Random) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    draw = ImageDraw.Draw(image)

    def line(*points: float) -> None:
        moved = (np.array(points) + random.uniform(-10, 10, len(points))).tolist()
        draw.line(moved, fill=0, width=3)

    def circle(*box: float) -> None:
        moved = (np.array(box) + random.uniform(-8, 8, 4)).tolist()
        draw.ellipse(moved, outline=0, width=3)

    kind = random.integers(5)
    if kind == 0:
        circle(20, 20, 108, 108)
        line(64, 64, 64, 30)
        line(64, 64, 95, 64)
    elif kind == 1:
        line(20, 50, 20, 110, 105, 110, 105, 50, 20, 50)
        line(15, 50, 64, 15, 108, 50)
    elif kind == 2:
        circle(45, 10, 80, 45)
        line(64, 45, 64, 90)
        line(35, 118, 64, 88, 95, 118)
    elif kind == 3:
        line(64, 10, 30, 110, 115, 45, 12, 45, 95, 110, 64, 10)
    else:
        line(*np.column_stack([10 + 12 * np.arange(10), 64 + 25 * np.sin(range(10))]).flat)
    return image


def drawings(count: int, random: Random) -> Images:
    """Clocks, houses, people, stars and waves: black lines on white."""
    return [_drawing(random) for _ in range(count)]


def satellite(count: int, random: Random) -> Images:
    """Fields, forests, water, rivers and towns from above, 64×64."""
    images = []
    for _ in range(count):
        base = random.uniform(40, 140, 3) * (0.7, 1, 0.7)
        image = Image.new("RGB", (128, 128), tuple(int(v) for v in base))
        draw = ImageDraw.Draw(image)
        texture = np.zeros((64, 64, 3))
        kind = random.integers(5)
        if kind in (0, 1):  # fields or a town: patches of one size or another
            size = (15, 45) if kind == 0 else (8, 14)
            edges = [np.cumsum([0, *random.uniform(*size, 128 // size[0])]) for _ in range(2)]
            for left, right in zip(edges[0][:-1], edges[0][1:], strict=True):
                for top, bottom in zip(edges[1][:-1], edges[1][1:], strict=True):
                    fill = tuple(int(v) for v in base + random.uniform(-40, 90 if kind else 40, 3))
                    draw.rectangle((left, top, right - 2 * kind, bottom - 2 * kind), fill=fill)
        elif kind == 2:
            texture = sum(25 * _smooth(64, cells, random) for cells in (8, 16, 32))
        elif kind == 3:
            texture = 12 * _smooth(64, 3, random)
        else:
            points = [(x, random.uniform(32, 96)) for x in (0, 40, 64, 88, 128)]
            draw.line(points, fill=(60, 80, 110), width=int(random.integers(3, 9)), joint="curve")
            texture = 30 * _smooth(64, 10, random)
        image = image.rotate(random.uniform(0, 360), Image.Resampling.BICUBIC)
        images.append(_noisy(np.asarray(image.crop((32, 32, 96, 96))) + texture, 3, random))
    return images


def xrays(count: int, random: Random) -> Images:
    """Chests: lungs, ribs, heart and spine, where every chest has them, 128×128."""
    images = []
    for _ in range(count):
        image = Image.new("L", (128, 128), 170)
        draw = ImageDraw.Draw(image)
        for *box, fill in (22, 20, 60, 112, 60), (68, 20, 106, 112, 60), (55, 65, 92, 108, 150):
            draw.ellipse((np.array(box) + random.uniform(-4, 4, 4)).tolist(), fill=fill)
        draw.rectangle((60, 0, 68, 128), fill=185)
        top, gap = random.uniform(19, 29), random.uniform(9.5, 12.5)
        for y in top + gap * np.arange(8):
            for left in 20, 66:
                fill = int(random.uniform(93, 117))
                draw.arc((left, y, left + 42, y + 26), 180, 360, fill=fill, width=3)
        image = image.filter(ImageFilter.GaussianBlur(1.5))
        pixels = np.asarray(image) + 25 * _smooth(128, 5, random)[..., 0]
        images.append(_noisy(pixels, 3, random))
    return images


def _cell(random: Random) -> Image.Image:
    image = Image.new("RGB", (64, 64), (235, 205, 190))
    draw = ImageDraw.Draw(image)

    def disk(x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    for _ in range(random.integers(2, 6)):
        disk(*random.uniform(0, 64, 2), random.uniform(8, 11), (225, 165, 160))
    x, y = random.uniform(30, 34, 2)
    disk(x, y, random.uniform(13, 19), (200, 170, 205))
    for _ in range(random.integers(1, 4)):
        dx, dy = random.uniform(-5, 5, 2)
        disk(x + dx, y + dy, random.uniform(5, 10), (100, 60, 140))
    return _noisy(np.asarray(image.filter(ImageFilter.GaussianBlur(0.8))), 4, random)


def cells(count: int, random: Random) -> Images:
    """Blood cells under a microscope: a white one amid red ones, 64×64."""
    return [_cell(random) for _ in range(count)]


SETS: dict[str, Callable[[int, Random], Images]] = {
    made.__name__: made for made in (digits, glyphs, drawings, satellite, xrays, cells)
}
