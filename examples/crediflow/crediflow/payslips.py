"""Payslips, drawn: nobody's real one is in this repository, and what is printed on each is known exactly.

They are made hard to read on purpose. A slip has the income among other amounts, in one of several wordings and
layouts, and a *kind* that says what has happened to it: rotated in the scanner, photographed badly, printed with an
income that cannot be, smeared.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = (640, 320)
INK, PAPER = 25, 250
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
INCOME_LABELS = ("Gross monthly pay", "Monthly gross salary", "Gross pay this month")


class Kind(StrEnum):
    CLEAN = "clean"
    SKEWED = "skewed"
    NOISY = "noisy"
    ABSURD = "absurd"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Payslip:
    """What is printed on a slip.

    Attributes:
        income: as printed, which for an absurd slip is not what is earned.
        earned: what the employee really has a month.
    """

    name: str
    employer: str
    period: str
    income: float
    earned: float
    kind: Kind


def make(name: str, employer: str, earned: float, kind: Kind, random: Random) -> Payslip:
    """A slip of this kind; of an absurd one the income is not what is earned."""
    period = f"{random.choice(MONTHS[6:11])} 2026"
    slip = Payslip(name, employer, period, earned, earned, kind)
    return replace(slip, income=_absurd(earned, random)) if kind is Kind.ABSURD else slip


def _absurd(earned: float, random: Random) -> float:
    """A slip of somebody's finger: a decimal point two places off, a sign, a fortune."""
    return random.choice([round(earned / 100, 2), round(earned * 100, 2), -earned, 900_000.0])


def draw(slip: Payslip, random: Random) -> Image.Image:
    """The slip as a scanner would give it."""
    return _spoiled(_printed(slip, random), slip.kind, random)


def write(slip: Payslip, random: Random, folder: Path) -> Path:
    """Draw it into a PNG, and say where that is."""
    file = folder / f"{slip.name.lower().replace(' ', '-')}.png"
    draw(slip, random).save(file)
    return file


def _printed(slip: Payslip, random: Random) -> Image.Image:
    page = Image.new("L", SIZE, PAPER)
    pen = ImageDraw.Draw(page)
    big, normal = ImageFont.load_default(24), ImageFont.load_default(18)
    right = SIZE[0] - 40
    pen.text((40, 28), slip.employer, INK, big)
    pen.text((right, 32), slip.period, INK, normal, anchor="ra")
    pen.line((40, 68, right, 68), INK, 2)
    pen.text((40, 86), f"Employee: {slip.name}", INK, normal)
    for row, (label, amount) in enumerate(_lines(slip, random)):
        pen.text((40, 140 + 36 * row), label, INK, normal)
        pen.text((right - 20, 140 + 36 * row), amount, INK, normal, anchor="ra")
    return page


def _lines(slip: Payslip, random: Random) -> list[tuple[str, str]]:
    """The amounts. Several resemble the income: whoever takes the first or the largest number is wrong."""
    written = random.choice([_with_commas, _plain])
    tax = round(-abs(slip.income) * random.uniform(0.12, 0.28), 2)
    income = (random.choice(INCOME_LABELS), slip.income)
    others = [("Income tax", tax), ("Net pay", slip.income + tax)]
    year = ("Gross pay this year", slip.income * random.randint(7, 11))
    lines = random.choice([[income, *others, year], [year, income, *others]])
    return [(label, written(amount)) for label, amount in lines]


def _with_commas(amount: float) -> str:
    return f"{amount:,.2f}"


def _plain(amount: float) -> str:
    return f"{amount:.2f}"


def _spoiled(page: Image.Image, kind: Kind, random: Random) -> Image.Image:
    match kind:
        case Kind.SKEWED:
            angle = random.choice([-1, 1]) * random.uniform(3.0, 7.0)
            return page.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=PAPER)
        case Kind.NOISY:
            return _speckled(_faded(page, random.uniform(0.35, 0.55)), random)
        case Kind.UNREADABLE:
            small = page.resize((SIZE[0] // 5, SIZE[1] // 5), Image.Resampling.BILINEAR)
            return _speckled(_faded(small.resize(SIZE).filter(ImageFilter.GaussianBlur(3)), 0.3), random)
        case _:
            return page


def _faded(page: Image.Image, contrast: float) -> Image.Image:
    """Grey on grey, a little out of focus."""
    return page.point(lambda ink: 190 - (PAPER - ink) * contrast).filter(ImageFilter.GaussianBlur(0.75))


def _speckled(page: Image.Image, random: Random) -> Image.Image:
    """Grain everywhere, and black and white dots on some of it."""
    dice = np.random.default_rng(random.getrandbits(32))
    pixels = np.asarray(page, dtype=np.float32) + dice.normal(0, 9, (page.height, page.width))
    dots = dice.random(pixels.shape)
    pixels[dots < 0.007] = 40
    pixels[dots > 0.993] = 250
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
