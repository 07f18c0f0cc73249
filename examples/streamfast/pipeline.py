"""StreamFast: from a video to moderated, captioned copies of it in two sizes.

    segue run examples/streamfast                                     # a demo video, made on the spot
    segue run examples/streamfast --input '{"video": "my/clip.mp4"}'  # yours

A node runs as soon as what it depends on is there. Its model is a plain function whose parameters are named after the
nodes whose results it wants.
"""

from streamfast import models

from segue import Pipeline, step


@step(process=True)  # PocketSphinx holds the interpreter's lock while it listens: in a thread it would slow down others
def listen(source: models.Video) -> models.Speech:
    return models.listen(source)


MODERATED_AND_CAPTIONED = ["content_moderation", "generate_captions"]

pipeline = Pipeline.from_dict(
    {
        "source": {"model": "fetch", "retry": 2, "timeout": "5m"},
        "extract_audio": {"depends_on": ["source"], "model": "pocketsphinx", "retry": 3, "timeout": "10m"},
        "scene_detection": {"depends_on": ["source"], "model": "pyscenedetect", "retry": 2, "timeout": "5m"},
        "object_recognition": {"depends_on": ["scene_detection"], "model": "opencv", "retry": 2, "timeout": "2m"},
        "content_moderation": {
            "depends_on": ["object_recognition", "extract_audio"],
            "model": "moderation",
            "retry": 3,  # `segue chaos` said that one is too few
            "timeout": "2m",
        },
        "generate_captions": {"depends_on": ["extract_audio"], "model": "webvtt", "retry": 3, "timeout": "2m"},
        "transcode_240p": {
            "depends_on": MODERATED_AND_CAPTIONED,
            "when": "may_be_shown",
            "model": "ffmpeg",
            "input": {"height": 240},
            "retry": 2,
            "timeout": "5m",
        },
        "transcode_180p": {
            "depends_on": MODERATED_AND_CAPTIONED,
            "when": "may_be_shown",
            "model": "ffmpeg",
            "input": {"height": 180},
            "retry": 2,
            "timeout": "5m",
        },
        "manifest": {
            "depends_on": [
                "source",
                "extract_audio",
                "scene_detection",
                "content_moderation",
                "generate_captions",
                "transcode_240p",
                "transcode_180p",
            ],
            "model": "manifest",
            "retry": 2,
        },
    },
    models={
        "fetch": models.fetch,
        "pocketsphinx": listen,
        "pyscenedetect": models.find_cuts,
        "opencv": models.find_objects,
        "moderation": models.moderate,
        "webvtt": models.caption,
        "ffmpeg": models.transcode,
        "manifest": models.write_manifest,
    },
    predicates={"may_be_shown": models.may_be_shown},
    name="streamfast",
    input=models.Upload | None,
)
