"""The ffmpeg program: every call has a time limit, and an error says what ffmpeg said."""

import contextlib
import itertools
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg
from cv2.typing import MatLike

FPS = 25
PICTURE = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
SOUND = ("-c:a", "aac", "-b:a", "128k", "-ac", "1", "-ar", "48000")
# The same frames must give the same bytes, so that the artifact store keeps one copy: no encoder versions, no dates.
REPEATABLE = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")


class FfmpegError(RuntimeError):
    """ffmpeg refused or failed; the message is the end of what it printed."""


def ffmpeg(*arguments: str | Path, timeout: float = 300) -> None:
    """Run ffmpeg once, without a terminal; after `timeout` seconds it is killed (`subprocess.TimeoutExpired`)."""
    done = subprocess.run(_command(*arguments), capture_output=True, timeout=timeout)
    _check(done.returncode, done.stderr.decode(errors="replace"))


def has_audio(video: Path) -> bool:
    """Whether the file has a sound track. The bundled ffmpeg comes without ffprobe, so we read its banner."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-i", str(video)]
    banner = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    return any("Audio:" in line for line in banner.splitlines() if "Stream #" in line)


def normalise(video: Path, out: Path) -> Path:
    """Any video as one known form: at most 640 wide, 25 frames a second, H.264, one sound channel (silent if none)."""
    silence = () if has_audio(video) else ("-f", "lavfi", "-i", "anullsrc=sample_rate=48000", "-shortest")
    even = f"fps={FPS},scale='min(640,trunc(iw/2)*2)':-2"  # H.264 wants even sizes
    ffmpeg("-i", video, *silence, "-vf", even, *PICTURE, *SOUND, *REPEATABLE, out)
    return out


def extract_audio(video: Path, out: Path) -> Path:
    """The sound track as speech recognisers want it: 16 kHz, one channel, 16-bit WAV."""
    ffmpeg("-i", video, "-vn", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", *REPEATABLE, out)
    return out


def transcode(video: Path, captions: Path, out: Path, height: int) -> Path:
    """A smaller copy with the captions as a track that players can switch on."""
    tracks = ("-map", "0:v", "-map", "0:a", "-map", "1:s", "-c:s", "mov_text")
    smaller = ("-vf", f"scale=-2:{height}", *PICTURE, *SOUND, "-b:a", "64k")
    ffmpeg("-i", video, "-i", captions, *tracks, *smaller, *REPEATABLE, out)
    return out


def read_frames(video: Path) -> Iterator[MatLike]:
    """Every picture of the video, in order."""
    capture = cv2.VideoCapture(str(video))
    try:
        while True:
            there_is_one, frame = capture.read()
            if not there_is_one:
                return
            yield frame
    finally:
        capture.release()


def write_video(
    frames: Iterator[MatLike], audio: Path, out: Path, audio_filter: str = "anull", timeout: float = 300
) -> Path:
    """Encode pictures while they are made, with the sound track of `audio`, a sound or video file."""
    first = next(frames)
    height, width = first.shape[:2]
    pictures = ("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "pipe:0")
    tracks = ("-map", "0:v", "-map", "1:a", "-af", f"{audio_filter},apad", "-shortest")  # as long as the pictures
    command = _command(*pictures, "-i", audio, *tracks, *PICTURE, *SOUND, *REPEATABLE, out)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        too_late = threading.Timer(timeout, process.kill)
        too_late.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it gave up: the reason is in what it printed
                for frame in itertools.chain([first], frames):
                    process.stdin.write(frame.tobytes())
            said = process.communicate()[1].decode(errors="replace")
        finally:
            too_late.cancel()
    _check(process.returncode, said)
    return out


def _command(*arguments: str | Path) -> list[str]:
    program = (imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y")
    return [*program, *map(str, arguments)]


def _check(code: int, said: str) -> None:
    if code != 0:
        raise FfmpegError(said.strip()[-2000:] or f"ffmpeg ended with code {code}")
