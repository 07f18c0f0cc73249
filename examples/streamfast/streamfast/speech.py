"""Speech to text with PocketSphinx: what was said, and when each word was."""

import re
import wave
from dataclasses import dataclass
from pathlib import Path

from pocketsphinx import Decoder, Segmenter

CHUNK_BYTES = 3200  # 0.1 s of sound: PocketSphinx holds the interpreter's lock through a call, so calls are short


@dataclass(frozen=True)
class Word:
    """One spoken word, in seconds from the start of the video."""

    text: str
    start: float
    end: float
    confidence: float


def transcribe(wav: Path) -> list[Word]:
    """The English words in a 16 kHz mono WAV file."""
    # Dither: a synthetic voice pauses in perfect silence, which the recogniser was never trained on.
    decoder = Decoder(loglevel="FATAL", dither=True, seed=1)
    with wave.open(str(wav)) as sound:
        # Each stretch of speech by itself; half a second of silence ends one.
        segments = Segmenter(window=0.5, ratio=0.7, sample_rate=sound.getframerate()).segment(sound.getfp())
        return [word for segment in segments for word in _words(decoder, segment.pcm, segment.start_time)]


def word_error_rate(said: str, heard: str) -> float:
    """Words wrong, missing or too many, as a share of the words said."""
    truth, guess = _plain_words(said), _plain_words(heard)
    if not truth:
        raise ValueError("a word error rate needs at least one word that was said")
    # Edit distance, a row at a time: row[j] edits turn the words of `truth` so far into the first j of `guess`.
    row = list(range(len(guess) + 1))
    for i, right in enumerate(truth, 1):
        before, row[0] = row[0], i
        for j, word in enumerate(guess, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != right))
    return row[-1] / len(truth)


def _words(decoder: Decoder, pcm: bytes, start: float) -> list[Word]:
    decoder.start_utt()
    for position in range(0, len(pcm), CHUNK_BYTES):
        decoder.process_raw(pcm[position : position + CHUNK_BYTES])
    decoder.end_utt()
    return [
        # A frame is 10 ms. "read(2)" is the second way to pronounce "read".
        Word(
            text=re.sub(r"\(\d+\)$", "", heard.word),
            start=round(start + heard.start_frame / 100, 2),
            end=round(start + (heard.end_frame + 1) / 100, 2),
            confidence=round(min(heard.prob, 1.0), 3),
        )
        for heard in decoder.seg() or []
        if heard.word[0] not in "<["  # silence and noise: <s>, <sil>, [SPEECH]
    ]


def _plain_words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
