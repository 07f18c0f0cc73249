"""The models of StreamFast by themselves, on small clips that are made here: no engine, no flow."""

import importlib
import itertools
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "streamfast"
sys.path.insert(0, str(EXAMPLE))  # as `segue run` does

captions: Any = importlib.import_module("streamfast.captions")
demo: Any = importlib.import_module("streamfast.demo")
ffmpeg: Any = importlib.import_module("streamfast.ffmpeg")
moderation: Any = importlib.import_module("streamfast.moderation")
objects: Any = importlib.import_module("streamfast.objects")
scenes: Any = importlib.import_module("streamfast.scenes")
speech: Any = importlib.import_module("streamfast.speech")

SECONDS = 0.8  # a scene of the small clip
PICTURES = 20  # as many, at 25 a second


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streamfast")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """The four scenes of the demo, short, with the beginning of its speech."""
    return ffmpeg.write_video(demo.demo_frames(SECONDS), demo.SPEECH / "speech.opus", folder / "clip.mp4")


@pytest.fixture(scope="module")
def clip_scenes(clip: Path) -> Any:
    return scenes.find_scenes(clip)


@pytest.fixture(scope="module")
def clip_objects(clip: Path, clip_scenes: Any) -> Any:
    return objects.find_objects(clip, clip_scenes)


@pytest.fixture(scope="module")
def heard(folder: Path) -> Any:
    """The words that are recognised in the demo's speech."""
    return speech.transcribe(ffmpeg.extract_audio(demo.SPEECH / "speech.opus", folder / "speech.wav"))


def generated(out: Path, *sources: str) -> Path:
    """A file of what ffmpeg's own generators give."""
    ffmpeg.ffmpeg(*itertools.chain.from_iterable(("-f", "lavfi", "-i", source) for source in sources), out)
    return out


def word(text: str, start: float, end: float) -> Any:
    return speech.Word(text, start, end, 1.0)


def loudness(video: Path, start: float, seconds: float) -> float:
    """The mean of the sound's samples between two moments, without their sign."""
    wav = video.with_suffix(".part.wav")
    ffmpeg.ffmpeg("-ss", str(start), "-t", str(seconds), "-i", video, "-ac", "1", "-c:a", "pcm_s16le", wav)
    with wave.open(str(wav)) as sound:
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    return sum(map(abs, samples)) / len(samples)


class TestFfmpeg:
    def test_failure_says_what_ffmpeg_said(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.mp4"
        broken.write_text("this is no video")
        with pytest.raises(ffmpeg.FfmpegError, match="Invalid data"):
            ffmpeg.normalise(broken, tmp_path / "out.mp4")

    def test_call_that_takes_too_long_is_killed(self, tmp_path: Path) -> None:
        with pytest.raises(subprocess.TimeoutExpired):
            ffmpeg.ffmpeg("-re", "-f", "lavfi", "-i", "testsrc=d=60", tmp_path / "out.mp4", timeout=0.2)

    def test_encoding_that_takes_too_long_is_killed(self, clip: Path, tmp_path: Path) -> None:
        endless = itertools.cycle(ffmpeg.read_frames(clip))
        with pytest.raises(ffmpeg.FfmpegError):
            ffmpeg.write_video(endless, clip, tmp_path / "out.mp4", timeout=0.2)

    def test_encoder_that_gives_up_is_reported(self, clip: Path, tmp_path: Path) -> None:
        with pytest.raises(ffmpeg.FfmpegError, match="No such filter"):
            ffmpeg.write_video(ffmpeg.read_frames(clip), clip, tmp_path / "out.mp4", audio_filter="nonsense")

    def test_error_of_who_makes_the_pictures_comes_through(self, clip: Path, tmp_path: Path) -> None:
        def failing() -> Iterator[Any]:
            yield next(ffmpeg.read_frames(clip))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            ffmpeg.write_video(failing(), clip, tmp_path / "out.mp4")

    @pytest.mark.parametrize("sound_seconds", [0.3, 3])
    def test_video_is_as_long_as_its_pictures(self, tmp_path: Path, sound_seconds: float) -> None:
        video = generated(tmp_path / "in.mp4", "testsrc=d=1:r=25", f"sine=d={sound_seconds}")
        copy = ffmpeg.write_video(ffmpeg.read_frames(video), video, tmp_path / "copy.mp4")
        assert len(list(ffmpeg.read_frames(copy))) == 25

    def test_normalised_video_has_one_form(self, tmp_path: Path) -> None:
        odd = generated(tmp_path / "odd.mkv", "testsrc=d=1:s=1001x563:r=30", "sine=d=1")
        frames = list(ffmpeg.read_frames(ffmpeg.normalise(odd, tmp_path / "out.mp4")))
        assert len(frames) == ffmpeg.FPS
        assert frames[0].shape == (360, 640, 3)

    def test_small_video_is_not_enlarged(self, tmp_path: Path) -> None:
        small = generated(tmp_path / "small.mkv", "testsrc=d=0.2:s=161x91:r=25", "sine=d=0.2")
        frame = next(ffmpeg.read_frames(ffmpeg.normalise(small, tmp_path / "out.mp4")))
        assert frame.shape == (90, 160, 3)

    def test_silent_film_gets_a_silent_track(self, tmp_path: Path) -> None:
        silent = generated(tmp_path / "silent.mkv", "testsrc=d=0.2:r=25")
        assert not ffmpeg.has_audio(silent)
        assert ffmpeg.has_audio(ffmpeg.normalise(silent, tmp_path / "out.mp4"))

    def test_audio_is_extracted_as_recognisers_want_it(self, clip: Path, tmp_path: Path) -> None:
        with wave.open(str(ffmpeg.extract_audio(clip, tmp_path / "audio.wav"))) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)

    @pytest.mark.parametrize("height", [240, 180])
    def test_rendition_is_smaller_and_as_long(self, clip: Path, tmp_path: Path, height: int) -> None:
        text = captions.write_webvtt([captions.Cue(0.1, 0.5, "good evening")], tmp_path / "captions.vtt")
        small = ffmpeg.transcode(clip, text, tmp_path / "small.mp4", height)
        frames = list(ffmpeg.read_frames(small))
        assert len(frames) == 4 * PICTURES
        assert frames[0].shape[0] == height
        ffmpeg.ffmpeg("-i", small, "-map", "0:s", tmp_path / "inside.srt")
        assert "good evening" in (tmp_path / "inside.srt").read_text()

    def test_rendition_without_words_to_caption(self, clip: Path, tmp_path: Path) -> None:
        text = captions.write_webvtt([], tmp_path / "captions.vtt")
        assert next(ffmpeg.read_frames(ffmpeg.transcode(clip, text, tmp_path / "small.mp4", 180))).shape[0] == 180


class TestDemo:
    def test_is_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        first, second = (demo.make_demo(tmp_path / name) for name in ("first.mp4", "second.mp4"))
        assert first.read_bytes() == second.read_bytes()

    def test_speech_is_as_long_as_the_pictures(self, tmp_path: Path) -> None:
        with wave.open(str(ffmpeg.extract_audio(demo.SPEECH / "speech.opus", tmp_path / "audio.wav"))) as sound:
            seconds = sound.getnframes() / sound.getframerate()
        assert seconds == pytest.approx(4 * demo.SCENE_SECONDS, abs=0.05)


class TestSpeech:
    def test_hears_the_demo_with_few_errors(self, heard: Any) -> None:
        assert speech.word_error_rate(demo.demo_script(), " ".join(each.text for each in heard)) <= 0.06

    def test_words_follow_each_other(self, heard: Any) -> None:
        assert all(each.start < each.end and 0 <= each.confidence <= 1 for each in heard)
        assert all(one.end <= next_one.start for one, next_one in itertools.pairwise(heard))

    def test_word_is_in_its_scene(self, heard: Any) -> None:
        [damn] = [each for each in heard if each.text == "damn"]
        assert 2 * demo.SCENE_SECONDS < damn.start < damn.end < 3 * demo.SCENE_SECONDS

    def test_silence_has_no_words(self, tmp_path: Path) -> None:
        silence = generated(tmp_path / "silence.wav", "anullsrc=r=16000:cl=mono:d=1")
        assert speech.transcribe(silence) == []

    @pytest.mark.parametrize(
        ("said", "heard", "rate"),
        [
            ("Good evening.", "good evening", 0),
            ("good evening", "good morning", 1 / 2),
            ("good evening to you", "good evening you", 1 / 4),
            ("good evening", "a good evening", 1 / 2),
            ("good evening", "", 1),
        ],
    )
    def test_word_error_rate(self, said: str, heard: str, rate: float) -> None:
        assert speech.word_error_rate(said, heard) == rate

    def test_no_word_error_rate_of_nothing(self) -> None:
        with pytest.raises(ValueError, match="at least one word"):
            speech.word_error_rate("", "good evening")


class TestScenes:
    def test_finds_every_cut(self, clip_scenes: Any) -> None:
        assert [(each.first, each.end) for each in clip_scenes] == [
            (number * PICTURES, (number + 1) * PICTURES) for number in range(4)
        ]
        assert [each.number for each in clip_scenes] == [1, 2, 3, 4]
        assert not any(each.black for each in clip_scenes)

    def test_times_are_in_seconds(self, clip_scenes: Any) -> None:
        assert (clip_scenes[1].start_seconds, clip_scenes[1].end_seconds) == (SECONDS, 2 * SECONDS)

    def test_video_without_cuts_is_one_scene(self, tmp_path: Path) -> None:
        still = generated(tmp_path / "still.mp4", "color=white:d=1:r=25:s=320x180")
        assert [(each.first, each.end) for each in scenes.find_scenes(still)] == [(0, 25)]

    def test_black_scene(self, tmp_path: Path) -> None:
        parts = "color=white:d=1:r=25:s=320x180[a];color=black:d=1:r=25:s=320x180[b];[a][b]concat"
        video = generated(tmp_path / "black.mp4", parts)
        assert [each.black for each in scenes.find_scenes(video)] == [False, True]

    def test_picture_behind_the_end(self, clip: Path) -> None:
        with pytest.raises(ValueError, match="no picture 4000"):
            list(scenes.pictures_at(clip, [4000]))


class TestObjects:
    def test_finds_a_face_and_a_person_where_they_are(self, clip_objects: Any) -> None:
        assert [(each.label, each.scene) for each in clip_objects] == [("face", 2)] * 3 + [("person", 3)] * 3

    def test_box_holds_the_face(self, clip_objects: Any) -> None:
        box = clip_objects[0].box
        assert 200 < box.x < 320 < box.x + box.width < 440
        assert 60 < box.y < 165 < box.y + box.height < 280

    def test_black_scenes_are_not_looked_at(self, clip: Path, clip_scenes: Any) -> None:
        dark = [scenes.Scene(each.number, each.first, each.end, black=True) for each in clip_scenes]
        assert objects.find_objects(clip, dark) == []

    def test_contact_sheet_shows_all_key_pictures(
        self, clip: Path, clip_scenes: Any, clip_objects: Any, tmp_path: Path
    ) -> None:
        sheet = objects.contact_sheet(clip, clip_scenes, clip_objects, tmp_path / "sheet.png")
        picture = next(ffmpeg.read_frames(sheet))
        assert picture.shape == (4 * 180, objects.KEY_PICTURES * 320, 3)
        assert (picture == objects.COLOURS["face"]).all(axis=2).any()

    def test_contact_sheet_of_nothing(self, clip: Path, tmp_path: Path) -> None:
        assert objects.contact_sheet(clip, [], [], tmp_path / "sheet.png").stat().st_size > 0


class TestModeration:
    def test_hides_every_face(self, clip: Path, clip_scenes: Any, clip_objects: Any, tmp_path: Path) -> None:
        faces = moderation.faces_to_hide(clip, clip_scenes, clip_objects)
        assert sorted(faces) == list(range(PICTURES, 2 * PICTURES))
        assert moderation.count_faces_left(clip, faces) == PICTURES
        copy = moderation.hide(clip, faces, [], tmp_path / "copy.mp4")
        assert moderation.count_faces_left(copy, range(4 * PICTURES)) == 0

    def test_face_that_is_lost_stays_hidden_where_it_was(self, tmp_path: Path) -> None:
        # The detector sees nothing in this video, so all it has is the box from the key picture.
        video = generated(tmp_path / "grey.mp4", "color=gray:d=0.2:r=25:s=320x180")
        box = objects.Box(10, 20, 60, 60)
        seen = [objects.Detection("face", 1, 0.08, box)]
        assert moderation.faces_to_hide(video, [scenes.Scene(1, 0, 5, False)], seen) == {
            number: [box] for number in range(5)
        }

    def test_people_are_not_hidden(self, clip: Path, clip_scenes: Any, clip_objects: Any) -> None:
        people = [each for each in clip_objects if each.label == "person"]
        assert moderation.faces_to_hide(clip, clip_scenes, people) == {}

    def test_face_at_the_edge(self, clip: Path, tmp_path: Path) -> None:
        faces = {0: [objects.Box(0, 0, 50, 50), objects.Box(600, 320, 40, 40)]}
        assert moderation.hide(clip, faces, [], tmp_path / "copy.mp4").stat().st_size > 0

    def test_blocked_word_is_silent(self, tmp_path: Path) -> None:
        video = generated(tmp_path / "tone.mp4", "testsrc=d=2:r=25", "sine=d=2")
        copy = moderation.hide(video, {}, [word("damn", 0.5, 1.0), word("damn", 1.5, 1.9)], tmp_path / "copy.mp4")
        assert loudness(video, 0.6, 0.3) > 1000
        assert loudness(copy, 0.6, 0.3) < 10
        assert loudness(copy, 1.6, 0.2) < 10
        assert loudness(copy, 1.1, 0.3) > 1000

    @pytest.mark.parametrize(("text", "blocked"), [("damn", True), ("Damn", True), ("dam", False)])
    def test_blocked_words(self, text: str, blocked: bool) -> None:
        assert moderation.is_blocked(text) is blocked


class TestCaptions:
    def test_pause_begins_a_line(self) -> None:
        words = [word("good", 0.0, 0.5), word("evening", 0.6, 1.0), word("today", 2.0, 2.5)]
        cues = captions.make_cues(words)
        assert cues == [captions.Cue(0.0, 1.0, "good evening"), captions.Cue(2.0, 2.5, "today")]

    def test_no_line_is_too_long_and_no_word_is_lost(self, heard: Any) -> None:
        cues = captions.make_cues(heard)
        assert max(len(cue.text) for cue in cues) <= captions.MAX_LETTERS
        assert sum(len(cue.text.split()) for cue in cues) == len(heard)

    def test_blocked_word_is_masked(self) -> None:
        assert captions.make_cues([word("damn", 0, 1), word("train", 1, 2)])[0].text == "d*** train"

    def test_silence_has_no_cues(self) -> None:
        assert captions.make_cues([]) == []

    def test_file_is_webvtt(self, tmp_path: Path) -> None:
        file = captions.write_webvtt([captions.Cue(3599.9996, 3661.25, "good evening")], tmp_path / "captions.vtt")
        assert file.read_text().split() == ["WEBVTT", "01:00:00.000", "-->", "01:01:01.250", "good", "evening"]
