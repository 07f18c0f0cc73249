"""Object recognition with OpenCV: faces (Haar cascade) and people (HOG) on the key pictures of each scene.

OpenCV 5 has dropped both, so we stay below 5; the two finders are what to rewrite for another detector.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from cv2.data import haarcascades
from cv2.typing import MatLike

from .ffmpeg import FPS
from .scenes import Scene, pictures_at

Label = Literal["face", "person"]

KEY_PICTURES = 3  # in each scene
SHEET_ROWS = 12
SURE_PERSON = 1.0  # HOG's score: walkers have 1 to 5, hills and faces that it takes for people stay below 0.7
COLOURS: dict[Label, tuple[int, int, int]] = {"face": (60, 220, 60), "person": (0, 140, 255)}


@dataclass(frozen=True)
class Box:
    """Where in the picture, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Detection:
    """Something seen on a key picture."""

    label: Label
    scene: int
    seconds: float
    box: Box


def face_finder() -> Callable[[MatLike], list[Box]]:
    """A function that finds the faces 40 pixels or larger. Each thread needs its own: cascades are not thread-safe."""
    cascade = cv2.CascadeClassifier(haarcascades + "haarcascade_frontalface_default.xml")

    def find_faces(picture: MatLike) -> list[Box]:
        half = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        faces = cascade.detectMultiScale(half, scaleFactor=1.1, minNeighbors=6, minSize=(20, 20))
        return [Box(*(2 * int(side) for side in face)) for face in faces]

    return find_faces


def people_finder() -> Callable[[MatLike], list[Box]]:
    """A function that finds people who stand or walk."""
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def find_people(picture: MatLike) -> list[Box]:
        boxes, scores = hog.detectMultiScale(picture, winStride=(8, 8))
        return [Box(*map(int, box)) for box, score in zip(boxes, np.ravel(scores), strict=True) if score > SURE_PERSON]

    return find_people


def find_objects(video: Path, scenes: list[Scene]) -> list[Detection]:
    """What is on the key pictures. Black scenes are not looked at."""
    finders: dict[Label, Callable[[MatLike], list[Box]]] = {"face": face_finder(), "person": people_finder()}
    return [
        Detection(label, scene.number, number / FPS, box)
        for scene, number, picture in _key_pictures(video, scenes)
        for label, find in finders.items()
        for box in find(picture)
    ]


def contact_sheet(video: Path, scenes: list[Scene], found: list[Detection], out: Path) -> Path:
    """The key pictures on one sheet, a row for each scene, with what was found drawn in."""
    rows: dict[int, list[MatLike]] = {}
    for scene, number, picture in _key_pictures(video, scenes[:SHEET_ROWS]):
        for detection in found:
            if detection.seconds == number / FPS:
                _outline(picture, detection)
        rows.setdefault(scene.number, []).append(cv2.resize(picture, None, fx=0.5, fy=0.5))
    sheet = np.vstack([np.hstack(row) for row in rows.values()]) if rows else np.zeros((180, 320, 3), np.uint8)
    if not cv2.imwrite(str(out), sheet):
        raise OSError(f"cannot write {out}")
    return out


def _key_pictures(video: Path, scenes: list[Scene]) -> Iterator[tuple[Scene, int, MatLike]]:
    wanted = [
        (scene, scene.first + (scene.end - scene.first) * (2 * part + 1) // (2 * KEY_PICTURES))
        for scene in scenes
        if not scene.black
        for part in range(KEY_PICTURES)
    ]
    pictures = pictures_at(video, [number for _, number in wanted])
    for (scene, number), picture in zip(wanted, pictures, strict=True):
        yield scene, number, picture


def _outline(picture: MatLike, detection: Detection) -> None:
    box, colour = detection.box, COLOURS[detection.label]
    cv2.rectangle(picture, (box.x, box.y), (box.x + box.width, box.y + box.height), colour, 3)
    cv2.putText(picture, detection.label, (box.x, box.y - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, 2, cv2.LINE_AA)
