"""Moderation: what has to be hidden, a copy of the video in which it is, and a second look at the copy."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import cv2
from cv2.typing import MatLike

from .ffmpeg import read_frames, write_video
from .objects import Box, Detection, face_finder
from .scenes import Scene
from .speech import Word

BLOCKED_WORDS = frozenset({"damn"})
MARGIN = 0.15  # a detector's box ends at hair and chin: hide a little more on each side
MOSAIC = (4, 4)  # so coarse that nothing is left to recognise: with (7, 7) the detector still saw faces


def is_blocked(word: str) -> bool:
    return word.lower() in BLOCKED_WORDS


def faces_to_hide(video: Path, scenes: list[Scene], found: list[Detection]) -> dict[int, list[Box]]:
    """Where the faces are, by picture number, in the scenes whose key pictures show one."""
    last_seen: dict[int, list[Box]] = {scene.number: [] for scene in scenes}
    for one in found:
        if one.label == "face":
            last_seen[one.scene].append(one.box)
    scene_of = {n: scene.number for scene in scenes if last_seen[scene.number] for n in range(scene.first, scene.end)}
    find_faces = face_finder()
    hidden: dict[int, list[Box]] = {}
    for number, picture in enumerate(read_frames(video)):
        if number in scene_of:
            # Where the detector loses a face, it stays hidden where it was last seen: at first, on the key pictures.
            scene = scene_of[number]
            last_seen[scene] = find_faces(picture) or last_seen[scene]
            hidden[number] = last_seen[scene]
    return hidden


def hide(video: Path, faces: Mapping[int, list[Box]], words: list[Word], out: Path) -> Path:
    """A copy of the video with these faces blurred, silent where these words are spoken."""
    return write_video(_blurred(video, faces), video, out, audio_filter=_mute(words))


def count_faces_left(video: Path, numbers: Collection[int]) -> int:
    """On how many of these pictures the detector still sees a face."""
    find_faces = face_finder()
    return sum(bool(find_faces(picture)) for number, picture in enumerate(read_frames(video)) if number in numbers)


def _blurred(video: Path, faces: Mapping[int, list[Box]]) -> Iterator[MatLike]:
    for number, picture in enumerate(read_frames(video)):
        for face in faces.get(number, ()):
            _blur(picture, face)
        yield picture


def _blur(picture: MatLike, box: Box) -> None:
    wide, high = round(box.width * MARGIN), round(box.height * MARGIN)
    rows = slice(max(0, box.y - high), box.y + box.height + high)
    columns = slice(max(0, box.x - wide), box.x + box.width + wide)
    region = picture[rows, columns]
    height, width = region.shape[:2]
    mosaic = cv2.resize(region, MOSAIC, interpolation=cv2.INTER_AREA)
    picture[rows, columns] = cv2.resize(mosaic, (width, height), interpolation=cv2.INTER_LINEAR)


def _mute(words: list[Word]) -> str:
    spans = "+".join(f"between(t,{word.start},{word.end})" for word in words)
    return f"volume=0:enable='{spans}'" if spans else "anull"
