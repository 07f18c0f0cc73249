"""The video pipeline of the story that Segue began with: its dictionary letter for letter, and five models bound.

The story names other companies' models; what stands in for them is in ``streamfast/models.py``. It has no node that
fetches the video, so both roots do: they make the same bytes, of which the store keeps one copy. ``pipeline.py`` is
the same pipeline with nothing left out.
"""

from streamfast.models import Cuts, Speech, Upload, caption, fetch, find_cuts, find_objects, listen, moderate

from segue import Pipeline, step

# fmt: off
# Pseudo-code for a video orchestration DAG
video_pipeline = {
"extract_audio": {
"depends_on": [],
"model": "whisper_large_v3",
"retry": 3,
"timeout": 600
},
"scene_detection": {
"depends_on": [],
"model": "custom_pytorch",
"retry": 2,
"timeout": 300
},
"object_recognition": {
"depends_on": ["scene_detection"],
"model": "yolov8",
"retry": 2,
"timeout": 120
},
"content_moderation": {
"depends_on": ["object_recognition", "extract_audio"],
"model": "aws_rekognition",
"retry": 1,
"timeout": 60
},
"generate_captions": {
"depends_on": ["extract_audio"],
"model": "custom_timestamps",
"retry": 3,
"timeout": 120
}
}
# fmt: on


@step(process=True)  # PocketSphinx holds the interpreter's lock while it listens: in a thread it would slow down others
def listen_to(input: Upload | None) -> Speech:
    return listen(fetch(input))


def find_cuts_in(input: Upload | None) -> Cuts:
    return find_cuts(fetch(input))


pipeline = Pipeline.from_dict(
    video_pipeline,
    models={
        "whisper_large_v3": listen_to,  # PocketSphinx
        "custom_pytorch": find_cuts_in,  # PySceneDetect
        "yolov8": find_objects,  # OpenCV: Haar cascade for faces, HOG for people
        "aws_rekognition": moderate,  # rules over both, and the blur
        "custom_timestamps": caption,  # WebVTT
    },
    name="streamfast-seed",
    input=Upload | None,
)
