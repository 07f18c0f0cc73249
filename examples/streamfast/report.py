"""What ``segue run`` shows when the pipeline is through: what was found, the captions, and the files."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from streamfast.models import Captions, Cuts, Manifest, Moderation, Objects, Rendition
from streamfast.scenes import Scene

from segue import File


@dataclass(frozen=True)
class Result:
    """The nodes' results that are shown. Segue makes one of the pipeline's, because ``report`` asks for it."""

    scene_detection: Cuts
    object_recognition: Objects
    content_moderation: Moderation
    generate_captions: Captions
    transcode_240p: Rendition | None
    transcode_180p: Rendition | None
    manifest: Manifest


def report(result: Result) -> None:
    console = Console(stderr=True)  # stdout is for the JSON result
    console.print(_scenes(result.scene_detection, result.object_recognition))
    console.print(_captions(result.generate_captions))
    console.print(_files(result))
    console.print(_verdict(result.content_moderation, result.manifest))
    console.print(
        "\nNext: [bold]segue show last[/bold] says what ran when. Then run it again, kill -9 it half-way, and "
        "[bold]segue resume examples/streamfast[/bold]: what was done is not done again."
    )


def _scenes(cuts: Cuts, objects: Objects) -> Table:
    table = Table("scene", "from", "to", "found on its key pictures", title="Scenes", title_justify="left")
    for scene in cuts.scenes:
        table.add_row(str(scene.number), _time(scene.start_seconds), _time(scene.end_seconds), _seen(scene, objects))
    return table


def _seen(scene: Scene, objects: Objects) -> str:
    if scene.black:
        return "black"
    labels = [one.label for one in objects.found if one.scene == scene.number]
    return ", ".join(f"{label} ×{labels.count(label)}" for label in sorted(set(labels))) or "-"


def _captions(captions: Captions) -> Table:
    table = Table("from", "to", "text", title="Captions", title_justify="left")
    for cue in captions.cues:
        table.add_row(_time(cue.start), _time(cue.end), cue.text)
    if not captions.cues:
        table.add_row("-", "-", "nothing was said")
    return table


def _files(result: Result) -> Table:
    files = {
        "key pictures": result.object_recognition.sheet,
        "moderated video": result.content_moderation.video,
        "captions": result.generate_captions.file,
        "manifest": result.manifest.file,
    }
    renditions = [each for each in (result.transcode_240p, result.transcode_180p) if each]
    files |= {f"{each.height}p": each.video for each in renditions}
    table = Table("what", "kB", "where", title="Files", title_justify="left")
    for what, file in files.items():
        table.add_row(what, f"{file.size / 1000:.1f}", _link(file))
    return table


def _link(file: File) -> str:
    """A link beside the store, with a name that players understand: the store calls files by their hash."""
    folder = file.path.parents[2] / "streamfast"
    folder.mkdir(exist_ok=True)
    link = folder / file.name
    link.unlink(missing_ok=True)
    link.symlink_to(file.path)
    return str(link.relative_to(Path.cwd()) if link.is_relative_to(Path.cwd()) else link)


def _verdict(moderation: Moderation, manifest: Manifest) -> str:
    text = f"Moderation: [bold]{moderation.decision}[/bold]."
    if moderation.decision != "clean":
        text += (
            f" Faces on {moderation.pictures_with_faces} pictures, {moderation.pictures_with_faces_left} of them left."
        )
    if moderation.muted:
        text += f" Muted: {', '.join(word.text for word in moderation.muted)}."
    if manifest.facts.word_error_rate is not None:
        text += f" Speech to text: {manifest.facts.word_error_rate:.0%} of the words wrong."
    return text


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s"
