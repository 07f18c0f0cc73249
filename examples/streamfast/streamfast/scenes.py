"""Scene detection with PySceneDetect: where the picture cuts, and which scenes are black."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
from cv2.typing import MatLike
from scenedetect import ContentDetector, detect

from .ffmpeg import FPS

BLACK_BELOW = 20  # mean brightness, of 255


@dataclass(frozen=True)
class Scene:
    """A stretch without a cut: pictures `first` up to, not including, `end`."""

    number: int
    first: int
    end: int
    black: bool

    @property
    def start_seconds(self) -> float:
        return self.first / FPS

    @property
    def end_seconds(self) -> float:
        return self.end / FPS


def find_scenes(video: Path) -> list[Scene]:
    """The scenes of a normalised video, in order; a video without cuts is one scene."""
    cuts = [
        (start.frame_num, end.frame_num) for start, end in detect(str(video), ContentDetector(), start_in_scene=True)
    ]
    middles = pictures_at(video, [(first + end) // 2 for first, end in cuts])
    return [
        Scene(number, first, end, black=bool(picture.mean() < BLACK_BELOW))
        for number, ((first, end), picture) in enumerate(zip(cuts, middles, strict=True), 1)
    ]


def pictures_at(video: Path, numbers: list[int]) -> Iterator[MatLike]:
    """The pictures with these numbers, one at a time; the first of the video is 0."""
    capture = cv2.VideoCapture(str(video))
    try:
        for number in numbers:
            yield _picture_at(capture, number)
    finally:
        capture.release()


def _picture_at(capture: cv2.VideoCapture, number: int) -> MatLike:
    capture.set(cv2.CAP_PROP_POS_FRAMES, number)
    there_is_one, picture = capture.read()
    if not there_is_one:
        raise ValueError(f"the video has no picture {number}")
    return picture
