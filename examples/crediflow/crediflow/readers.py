"""Two readers of payslips that have nothing in common: Tesseract, and RapidOCR's neural networks.

A reader that is wrong is as sure of itself as one that is right. Two that were made by different people, on different
data, are seldom wrong in the same way: whether they agree is what we know of their confidence.

``python measure.py`` measures both, on each kind of slip.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

os.environ.setdefault(
    "OMP_THREAD_LIMIT", "1"
)  # Tesseract is slower with more on small pages, and others need the cores

import pytesseract

INCOME_LABEL = re.compile(r"gross\s*monthly\s*pay|monthly\s*gross\s*salary|gross\s*pay\s*this\s*month", re.IGNORECASE)
AMOUNT = re.compile(r"(?<![\d.,])([-–—]?)\s?(\d{1,3}(?:,\d{3})+|\d+)\.(\d{2})(?!\d)")  # minus as OCR reads it
DIGIT = re.compile(r"\d")
PERIOD = re.compile(r"([A-Z][a-z]+)\s*(20\d\d)")
EMPLOYEE = re.compile(r"Employee\s*[:;.]?\s*([A-Z][^\n\d:]+)")
LONE = 40
"""A dot that differs by so much from all of its neighbours but one is dirt."""


@dataclass(frozen=True)
class Reading:
    """What one reader made of a slip. A field that it did not find is None.

    Attributes:
        income: the amount beside the label of the monthly gross income.
        text: all that was read.
    """

    reader: str
    name: str | None
    employer: str | None
    period: str | None
    income: float | None
    text: str


def nothing(reader: str) -> Reading:
    """What a reader has read that did not get to read."""
    return Reading(reader, None, None, None, None, "")


# Restoring a picture


def restored(picture: Image.Image) -> Image.Image:
    """Without specks, with its greys spread from black to white, and level."""
    return straightened(ImageOps.autocontrast(despeckled(picture.convert("L")), cutoff=(0.5, 40)))


def despeckled(picture: Image.Image) -> Image.Image:
    """Without lone dots. A plain median filter would eat decimal points and minus signs, and make sense of nonsense."""
    pixels, median = (
        np.asarray(each, dtype=np.int16) for each in (picture, picture.filter(ImageFilter.MedianFilter(3)))
    )
    darker, brighter = (np.asarray(picture.filter(ImageFilter.RankFilter(3, rank)), dtype=np.int16) for rank in (1, 7))
    lone = (pixels < darker - LONE) | (pixels > brighter + LONE)
    return Image.fromarray(np.where(lone, median, pixels).astype(np.uint8))


def straightened(picture: Image.Image) -> Image.Image:
    """Turned so that its lines are level."""
    angle = slope(picture)
    if abs(angle) < 0.3:
        return picture
    paper = int(np.percentile(np.asarray(picture), 80))
    return picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper)


def slope(picture: Image.Image) -> float:
    """By how many degrees to turn a picture. When lines are level, rows of pixels are either ink or paper."""
    small = picture.filter(ImageFilter.MedianFilter(3)).resize((picture.width // 2, picture.height // 2))
    paper = int(np.percentile(np.asarray(small), 80))

    def levelness(angle: float) -> float:
        rows = np.asarray(small.rotate(angle, Image.Resampling.BILINEAR, fillcolor=paper), dtype=np.float32).mean(
            axis=1
        )
        return float(np.square(np.diff(rows)).sum())

    coarse = max(range(-8, 9), key=levelness)
    return max((coarse + tenth / 10 for tenth in range(-10, 11, 2)), key=levelness)


# Reading it


def tesseract(file: Path) -> Reading:
    """What Tesseract, a program of its own, reads. It takes a page for one block of text (``--psm 6``)."""
    with Image.open(file) as picture:
        text = str(pytesseract.image_to_string(picture, lang="eng", config="--psm 6", timeout=20))
    return fields("tesseract", [line.strip() for line in text.splitlines() if line.strip()])


class Rapid:
    """RapidOCR: one network finds boxes of text, another one reads them. Loading takes a second, its models 31 MB."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        self._engine: Callable[..., Any] = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # nothing is upside down
                "Det.limit_type": "max",
                "Det.limit_side_len": 448,  # finds boxes on a smaller picture; what is in them is read on the whole one
                "Rec.rec_batch_num": 1,  # with each line as wide as it is, and not as the widest: twice as fast
                "Rec.rec_img_shape": [3, 48, 64],
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, file: Path) -> Reading:
        with Image.open(file) as picture:
            found = self._engine(np.asarray(picture.convert("RGB")))
        boxes = found.boxes if getattr(found, "boxes", None) is not None else ()
        return fields("rapidocr", _lines(zip(boxes, getattr(found, "txts", None) or (), strict=False)))


def _lines(boxes: Iterable[tuple[Any, str]]) -> list[str]:
    """The text of boxes that are side by side, as lines."""
    lines: list[tuple[float, list[tuple[float, str]]]] = []
    for corners, text in sorted(boxes, key=lambda box: float(box[0][:, 1].mean())):
        left, middle, height = corners[:, 0].min(), corners[:, 1].mean(), np.ptp(corners[:, 1])
        if lines and middle - lines[-1][0] < height / 2:
            lines[-1][1].append((left, text))
        else:
            lines.append((middle, [(left, text)]))
    return [" ".join(text for _, text in sorted(line)) for _, line in lines]


# What the text says


def fields(reader: str, lines: list[str]) -> Reading:
    """The fields of a slip, where they are where they belong."""
    text = "\n".join(lines)
    employee, period = EMPLOYEE.search(text), PERIOD.search(text)
    return Reading(
        reader=reader,
        name=employee[1].strip() if employee else None,
        employer=PERIOD.sub("", lines[0]).strip() or None if lines else None,
        period=f"{period[1]} {period[2]}" if period else None,
        income=next((amount(line) for line in lines if INCOME_LABEL.search(line)), None),
        text=text,
    )


def amount(line: str) -> float | None:
    """The amount in a line; None if it has none, or more digits than those: a space may have come into a number.

    >>> amount("Gross monthly pay -3,060.00")
    -3060.0
    """
    found = AMOUNT.findall(line)
    if len(found) != 1 or DIGIT.search(AMOUNT.sub("", line)):
        return None
    sign, whole, cents = found[0]
    return float(f"{'-' if sign else ''}{whole.replace(',', '')}.{cents}")
