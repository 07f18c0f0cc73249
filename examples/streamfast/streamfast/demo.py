"""The demo video: four drawn scenes of 4.6 seconds with hard cuts, and the speech in `demo_speech/`."""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from .ffmpeg import FPS, write_video

WIDTH, HEIGHT = 640, 360
SCENE_SECONDS = 4.6
SPEECH = Path(__file__).parent / "demo_speech"
WHITE, INK = (255, 255, 255), (40, 30, 30)


def make_demo(out: Path) -> Path:
    """Draw and encode the demo: 18 seconds, about one second of work."""
    return write_video(demo_frames(), SPEECH / "speech.opus", out)


def demo_script() -> str:
    """What is said in the demo, to measure the recogniser against."""
    lines = (SPEECH / "sentences.txt").read_text().splitlines()
    return " ".join(line.split(":", 1)[1].strip() for line in lines)


def demo_frames(seconds: float = SCENE_SECONDS) -> Iterator[MatLike]:
    """The pictures of the four scenes, `seconds` each."""
    count = round(seconds * FPS)
    for draw, backdrop in ((sunset, _sky()), (presenter, _studio()), (street, _houses()), (goodbye, _plain())):
        for number in range(count):
            yield draw(backdrop.copy(), number / count)


def sunset(picture: MatLike, progress: float) -> MatLike:
    """The sun goes down behind hills."""
    sun = (430, round(150 + 70 * progress))
    cv2.circle(picture, sun, 44, (120, 215, 255), -1, cv2.LINE_AA)
    _hills(picture, top=235, swing=28, colour=(70, 60, 95))
    _hills(picture, top=285, swing=-22, colour=(45, 38, 62))
    _text(picture, "THE EVENING NEWS", (40, 70), 1.0, WHITE)
    return picture


def presenter(picture: MatLike, progress: float) -> MatLike:
    """A face that sways and talks: the one that moderation has to find and blur."""
    x = round(320 + 22 * math.sin(2 * math.pi * progress))
    _body(picture, x)
    _face(picture, x, y=165, mouth=5 + round(5 * abs(math.sin(progress * 40))))
    cv2.rectangle(picture, (0, 310), (WIDTH, HEIGHT), (45, 30, 120), -1)
    _text(picture, "DR. ROSS, HEALTH CARE", (24, 28), 0.7, WHITE)
    return picture


def street(picture: MatLike, progress: float) -> MatLike:
    """Someone walks along the pavement."""
    _walker(picture, round(150 + 260 * progress), stride=math.sin(progress * 30))
    return picture


def goodbye(picture: MatLike, progress: float) -> MatLike:
    """The closing card, with a bar that fills."""
    _text(picture, "GOOD NIGHT", (190, 170), 1.4, INK)
    cv2.rectangle(picture, (190, 205), (190 + round(255 * progress), 213), (60, 90, 220), -1)
    return picture


def _sky() -> MatLike:
    return _gradient(top=(120, 60, 70), bottom=(90, 150, 250))


def _studio() -> MatLike:
    picture = _gradient(top=(110, 80, 40), bottom=(70, 45, 25))
    for x in range(30, WIDTH, 90):
        cv2.rectangle(picture, (x, 40), (x + 60, 100), (140, 105, 60), -1)
    return picture


def _houses() -> MatLike:
    picture = _gradient(top=(235, 215, 190), bottom=(225, 225, 225))
    for x, roof in ((0, 120), (110, 80), (230, 150), (340, 60), (470, 130), (560, 95)):
        cv2.rectangle(picture, (x, roof), (x + 100, 310), (205, 205, 215), -1)
        for floor in range(roof + 20, 280, 40):
            cv2.rectangle(picture, (x + 20, floor), (x + 80, floor + 16), (222, 218, 215), -1)
    cv2.rectangle(picture, (0, 310), (WIDTH, HEIGHT), (150, 150, 150), -1)
    return picture


def _plain() -> MatLike:
    return _gradient(top=(225, 235, 240), bottom=(205, 222, 232))


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> MatLike:
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    column = np.array(top) * (1 - share) + np.array(bottom) * share
    return np.broadcast_to(column, (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()


def _hills(picture: MatLike, top: int, swing: int, colour: tuple[int, int, int]) -> None:
    ridge = [(x, round(top + swing * math.sin(x / 90))) for x in range(0, WIDTH + 10, 10)]
    outline = np.array([(0, HEIGHT), *ridge, (WIDTH, HEIGHT)], np.int32)
    cv2.fillPoly(picture, [outline], colour, cv2.LINE_AA)


def _body(picture: MatLike, x: int) -> None:
    cv2.rectangle(picture, (x - 24, 215), (x + 24, 285), (130, 165, 210), -1)
    cv2.ellipse(picture, (x, HEIGHT), (130, 95), 0, 180, 360, (95, 70, 55), -1, cv2.LINE_AA)
    collar = np.array([(x - 30, 268), (x + 30, 268), (x, 320)], np.int32)
    cv2.fillPoly(picture, [collar], (240, 240, 240), cv2.LINE_AA)


def _face(picture: MatLike, x: int, y: int, mouth: int) -> None:
    """Haar cascades look for dark eyes over bright cheeks and a bright nose between: so this face has them."""
    skin, shade, hair = (165, 200, 240), (125, 160, 205), (35, 45, 70)
    cv2.ellipse(picture, (x, y - 12), (66, 82), 0, 0, 360, hair, -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + 4), (56, 76), 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y - 62), (52, 26), 0, 180, 360, hair, -1, cv2.LINE_AA)
    for side in (-1, 1):
        eye = x + side * 24
        cv2.ellipse(picture, (eye, y - 12), (15, 9), 0, 0, 360, shade, -1, cv2.LINE_AA)
        cv2.ellipse(picture, (eye, y - 26), (16, 5), 0, 180, 360, hair, -1, cv2.LINE_AA)
        cv2.ellipse(picture, (eye, y - 11), (10, 6), 0, 0, 360, WHITE, -1, cv2.LINE_AA)
        cv2.circle(picture, (eye, y - 11), 6, (35, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + 22), (11, 6), 0, 0, 180, shade, -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + 46), (23, mouth), 0, 0, 360, (70, 60, 150), -1, cv2.LINE_AA)


def _walker(picture: MatLike, x: int, stride: float) -> None:
    coat = (50, 45, 45)
    for side in (-1, 1):
        foot = (x + round(side * stride * 26), 318)
        cv2.line(picture, (x, 225), foot, coat, 15, cv2.LINE_AA)
        hand = (x + round(-side * stride * 22), 215)
        cv2.line(picture, (x, 165), hand, coat, 11, cv2.LINE_AA)
    cv2.ellipse(picture, (x, 190), (21, 46), 0, 0, 360, coat, -1, cv2.LINE_AA)
    cv2.circle(picture, (x, 124), 17, coat, -1, cv2.LINE_AA)


def _text(picture: MatLike, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, size, colour, 2, cv2.LINE_AA)
