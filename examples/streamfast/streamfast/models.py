"""The models as a pipeline binds them: each takes what came before and returns data, with its files in the store.

The work itself is in the modules beside this one, which know files by path and nothing of Segue.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from segue import File, Permanent

from . import captions, demo, ffmpeg, moderation, objects, scenes, speech
from .captions import Cue
from .objects import Detection
from .scenes import Scene
from .speech import Word, word_error_rate


@dataclass(frozen=True)
class Upload:
    """The pipeline's input."""

    video: str  # its path


@dataclass(frozen=True)
class Video:
    """What the pipeline works on. `script` is what is said in it, where that is known: in the demo."""

    file: File
    script: str | None = None


@dataclass(frozen=True)
class Speech:
    audio: File
    text: str
    words: list[Word]


@dataclass(frozen=True)
class Cuts:
    video: File
    scenes: list[Scene]


@dataclass(frozen=True)
class Objects:
    video: File
    scenes: list[Scene]
    found: list[Detection]
    sheet: File  # a picture for people: the key pictures with what was found


@dataclass(frozen=True)
class Moderation:
    """`video` may be shown: it is the original if that was clean, else the edited copy.

    "review": the detector still sees faces in the copy, so that a person has to look.
    """

    decision: Literal["clean", "edited", "review"]
    video: File
    pictures_with_faces: int
    pictures_with_faces_left: int
    muted: list[Word]


@dataclass(frozen=True)
class Captions:
    file: File
    cues: list[Cue]


@dataclass(frozen=True)
class Rendition:
    height: int
    video: File


@dataclass(frozen=True)
class Facts:
    """What a player or a catalogue needs to know."""

    decision: str
    scenes: int
    transcript: str
    word_error_rate: float | None  # None where nobody knows what was said
    published: list[File]


@dataclass(frozen=True)
class Manifest:
    """The facts, and a JSON file of them."""

    file: File
    facts: Facts


def fetch(input: Upload | None = None) -> Video:
    """The video in the one form that all models expect; the demo if there is none."""
    with _folder() as folder:
        if input is None:
            return Video(File.save(demo.make_demo(folder / "demo.mp4")), demo.demo_script())
        path = Path(input.video)
        if not path.is_file():
            raise Permanent(f"there is no video {path}")
        return Video(File.save(ffmpeg.normalise(path, folder / f"{path.stem}.mp4")))


def listen(source: Video) -> Speech:
    with _folder() as folder:
        audio = ffmpeg.extract_audio(source.file.path, folder / "audio.wav")
        words = speech.transcribe(audio)
        return Speech(File.save(audio), " ".join(word.text for word in words), words)


def find_cuts(source: Video) -> Cuts:
    return Cuts(source.file, scenes.find_scenes(source.file.path))


def find_objects(scene_detection: Cuts) -> Objects:
    video, cuts = scene_detection.video, scene_detection.scenes
    found = objects.find_objects(video.path, cuts)
    with _folder() as folder:
        sheet = objects.contact_sheet(video.path, cuts, found, folder / "key-pictures.jpg")
        return Objects(video, cuts, found, File.save(sheet))


def moderate(object_recognition: Objects, extract_audio: Speech) -> Moderation:
    """Hide faces and blocked words, then look again: what is not seen to be hidden is not called hidden."""
    original = object_recognition.video
    faces = moderation.faces_to_hide(original.path, object_recognition.scenes, object_recognition.found)
    blocked = [word for word in extract_audio.words if moderation.is_blocked(word.text)]
    if not faces and not blocked:
        return Moderation("clean", original, 0, 0, [])
    with _folder() as folder:
        copy = moderation.hide(original.path, faces, blocked, folder / "moderated.mp4")
        left = moderation.count_faces_left(copy, faces.keys())
        return Moderation("review" if left else "edited", File.save(copy), len(faces), left, blocked)


def caption(extract_audio: Speech) -> Captions:
    cues = captions.make_cues(extract_audio.words)
    with _folder() as folder:
        return Captions(File.save(captions.write_webvtt(cues, folder / "captions.vtt")), cues)


def may_be_shown(content_moderation: Moderation) -> bool:
    return content_moderation.decision != "review"


def transcode(content_moderation: Moderation, generate_captions: Captions, height: int) -> Rendition:
    """A copy of this height. It is made of the moderated video: the original must not leak in another size."""
    video, text = content_moderation.video.path, generate_captions.file.path
    with _folder() as folder:
        return Rendition(height, File.save(ffmpeg.transcode(video, text, folder / f"{height}p.mp4", height)))


def write_manifest(
    source: Video,
    extract_audio: Speech,
    scene_detection: Cuts,
    content_moderation: Moderation,
    generate_captions: Captions,
    transcode_240p: Rendition | None,  # None: skipped, since the video may not be shown
    transcode_180p: Rendition | None,
) -> Manifest:
    """What the others found, in one place."""
    renditions = [rendition for rendition in (transcode_240p, transcode_180p) if rendition]
    published = [*(rendition.video for rendition in renditions), generate_captions.file] if renditions else []
    said, heard = source.script, extract_audio.text
    shown = " ".join(cue.text for cue in generate_captions.cues)  # with blocked words masked
    facts = Facts(
        decision=content_moderation.decision,
        scenes=len(scene_detection.scenes),
        transcript=shown,
        word_error_rate=word_error_rate(said, heard) if said else None,
        published=published,
    )
    with _folder() as folder:
        path = folder / "manifest.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
        return Manifest(File.save(path), facts)


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="streamfast-") as folder:
        yield Path(folder)
