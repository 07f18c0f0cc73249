"""Closed captions: words with times become WebVTT cues."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import webvtt

from .moderation import is_blocked
from .speech import Word

MAX_LETTERS = 42  # what broadcasters allow on a line
PAUSE_SECONDS = 0.6


@dataclass(frozen=True)
class Cue:
    """One line of captions and when to show it, in seconds."""

    start: float
    end: float
    text: str


def make_cues(words: list[Word]) -> list[Cue]:
    """Lines that end at a pause or when they are full; blocked words are masked, as in the sound."""
    return [Cue(line[0].start, line[-1].end, " ".join(_masked(word.text) for word in line)) for line in _lines(words)]


def write_webvtt(cues: list[Cue], out: Path) -> Path:
    """The cues as a WebVTT file."""
    captions = webvtt.WebVTT()
    for cue in cues:
        captions.captions.append(webvtt.Caption(_clock(cue.start), _clock(cue.end), cue.text))
    captions.save(str(out))
    return out


def _lines(words: list[Word]) -> list[list[Word]]:
    lines = [[word] for word in words[:1]]
    for before, word in pairwise(words):
        length = sum(len(each.text) + 1 for each in lines[-1]) + len(word.text)
        if length > MAX_LETTERS or word.start - before.end > PAUSE_SECONDS:
            lines.append([word])
        else:
            lines[-1].append(word)
    return lines


def _masked(word: str) -> str:
    return word[0] + "*" * (len(word) - 1) if is_blocked(word) else word


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
