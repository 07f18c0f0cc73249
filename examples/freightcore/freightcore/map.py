"""A page with the routes of a day: as planned in the morning, in grey, and as driven, in colour. One file."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from freightcore.facts import DEPOT, ZONE, ZONES, Place

SIZE = 420
"""Pixels along one side of a city."""


class Track(NamedTuple):
    """A van's orders, as planned and as driven."""

    vehicle: str
    before: Sequence[str]
    after: Sequence[str]


class Panel(NamedTuple):
    """One city.

    Attributes:
        usual: how jammed its zones usually are.
        marks: orders that did not go as promised, and how: ``late``, ``rebooked``, ``subcontracted``, ``cancelled``.
        said: figures, each with its unit.
    """

    city: str
    usual: Sequence[float]
    places: Mapping[str, Place]
    tracks: Sequence[Track]
    marks: Mapping[str, str]
    said: Sequence[str]


def page(title: str, figures: Sequence[tuple[str, str]], panels: Iterable[Panel]) -> str:
    """The whole page.

    Args:
        figures: a value and what it is, for the head of the page.
    """
    tiles = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in figures)
    cities = "".join(_city(panel) for panel in panels)
    return _PAGE.format(title=escape(title), tiles=tiles, legend=_LEGEND, cities=cities, style=_STYLE)


def _city(panel: Panel) -> str:
    zones = "".join(_zone(number, jam) for number, jam in enumerate(panel.usual))
    before = "".join(_before(panel, track) for track in panel.tracks)
    after = "".join(_after(panel, track, number) for number, track in enumerate(panel.tracks))
    stops = "".join(_stop(panel, id) for track in panel.tracks for id in track.after)
    gone = "".join(_mark(panel, id, how) for id, how in panel.marks.items())
    x, y = _at(DEPOT)
    depot = f'<rect class="depot" x="{x - 5}" y="{y - 5}" width="10" height="10" rx="2"><title>the depot</title></rect>'
    said = " · ".join(escape(text) for text in panel.said)
    return (
        f"<figure><figcaption><b>{escape(panel.city)}</b> {said}</figcaption>"
        f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="Routes in {escape(panel.city)}">'
        f'{zones}<g class="before">{before}</g><g class="after">{after}{stops}</g>{gone}{depot}</svg></figure>'
    )


def _zone(number: int, jam: float) -> str:
    row, column = divmod(number, ZONES)
    side = SIZE / ZONES
    top = SIZE - (row + 1) * side
    return (
        f'<rect class="zone" x="{column * side:.0f}" y="{top:.0f}" width="{side:.0f}" height="{side:.0f}" '
        f'fill-opacity="{min(1.0, 1.6 * jam):.2f}"/>'
    )


def _before(panel: Panel, track: Track) -> str:
    return f'<polyline points="{_points(panel, track.before)}"/>' if track.before else ""


def _after(panel: Panel, track: Track, number: int) -> str:
    """As driven; what was not planned in the morning is bold."""
    if not track.after:
        return ""
    planned = set(pairwise(["", *track.before, ""]))
    new = [leg for leg in pairwise(["", *track.after, ""]) if leg not in planned]
    bold = "".join(f'<polyline class="new" points="{_points(panel, leg, ends=False)}"/>' for leg in new)
    title = f"{track.vehicle}: {len(track.before)} stops planned, {len(track.after)} made, {len(new)} new legs"
    hue = number * 137 % 360  # neighbours in number are far apart in colour
    return (
        f'<g style="stroke:hsl({hue} 65% {38 + number % 3 * 7}%)"><title>{escape(title)}</title>'
        f'<polyline points="{_points(panel, track.after)}"/>{bold}</g>'
    )


def _stop(panel: Panel, id: str) -> str:
    x, y = _at(panel.places[id])
    late = panel.marks.get(id) == "late"
    return f'<circle class="{"late" if late else "stop"}" cx="{x}" cy="{y}" r="{2.6 if late else 1.5}"/>'


def _mark(panel: Panel, id: str, how: str) -> str:
    if how == "late":
        return ""
    x, y = _at(panel.places[id])
    cross = f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"
    return f'<path class="{escape(how)}" d="{cross}"><title>{escape(f"{id} {how}")}</title></path>'


def _points(panel: Panel, ids: Sequence[str], *, ends: bool = True) -> str:
    """Places as SVG wants them. An empty id is the depot."""
    through = ["", *ids, ""] if ends else ids
    return " ".join("{},{}".format(*_at(panel.places[id] if id else DEPOT)) for id in through)


def _at(place: Place) -> tuple[float, float]:
    scale = SIZE / (ZONES * ZONE)
    return round(place.x * scale, 1), round(SIZE - place.y * scale, 1)


_LEGEND = """<ul class="legend">
<li><svg viewBox="0 0 34 12"><polyline class="key-before" points="1,6 33,6"/></svg>planned in the morning</li>
<li><svg viewBox="0 0 34 12"><polyline class="key-after" points="1,6 33,6"/></svg>driven as planned</li>
<li><svg viewBox="0 0 34 12"><polyline class="key-new" points="1,6 33,6"/></svg>driven otherwise</li>
<li><svg viewBox="0 0 12 12"><circle class="late" cx="6" cy="6" r="4"/></svg>later than its window</li>
<li><svg viewBox="0 0 12 12"><path class="rebooked" d="M2 2l8 8m0 -8l-8 8"/></svg>on another day, or by others</li>
<li><svg viewBox="0 0 12 12"><path class="cancelled" d="M2 2l8 8m0 -8l-8 8"/></svg>cancelled</li>
<li><svg viewBox="0 0 12 12"><rect class="depot" width="12" height="12" rx="2"/></svg>depot</li>
<li><svg viewBox="0 0 12 12"><rect class="zone" width="12" height="12" fill-opacity=".7"/></svg>usually jammed</li>
</ul>"""

_STYLE = """
body{margin:0;padding:28px 32px;background:#f6f5f1;color:#22252b;font:15px/1.45 system-ui,"DejaVu Sans",sans-serif}
h1{margin:0 0 14px;font-size:24px;font-weight:650;letter-spacing:-.01em}
ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap}
.tiles{gap:10px 28px;margin-bottom:18px}
.tiles li{color:#666a73;font-size:13px}
.tiles b{display:block;color:#22252b;font-size:21px;font-weight:650;font-variant-numeric:tabular-nums}
.legend{gap:6px 20px;margin-bottom:12px;font-size:13px;color:#4a4e57}
.legend li{display:flex;align-items:center;gap:7px}
.legend svg{height:12px}
.switches{margin:0 0 16px;font-size:13px;color:#4a4e57}
.switches label{margin-right:18px}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(400px,1fr));gap:22px}
figure{margin:0;background:#fff;border:1px solid #e3e1d9;border-radius:10px;padding:12px}
figcaption{font-size:13px;color:#666a73;margin-bottom:8px}
figcaption b{color:#22252b;font-size:16px;margin-right:6px}
figure svg{width:100%;height:auto;display:block;border-radius:6px;background:#fcfbf8}
.zone{fill:#e9b87a;stroke:#fff;stroke-width:1}
polyline{fill:none;stroke-linejoin:round;stroke-linecap:round}
.before polyline,.key-before{stroke:#a9adb5;stroke-width:2.2;stroke-opacity:.55}
.after polyline{stroke-width:.9;stroke-opacity:.65}
.after .new{stroke-width:1.9;stroke-opacity:1}
.after g:hover polyline{stroke-width:3.2;stroke-opacity:1}
.key-after{stroke:#2a7f9e;stroke-width:1.2}
.key-new{stroke:#2a7f9e;stroke-width:2.6}
.stop{fill:#3a3e46;fill-opacity:.55}
.late{fill:#fff;stroke:#d9480f;stroke-width:1.5}
.rebooked,.subcontracted{stroke:#c2255c;stroke-width:2.2;fill:none}
.cancelled{stroke:#4a4e57;stroke-width:1.4;fill:none}
.depot{fill:#22252b;stroke:#fff;stroke-width:1.5}
body:has(#hide-before:checked) .before,body:has(#hide-after:checked) .after{display:none}
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1><ul class="tiles">{tiles}</ul>{legend}
<p class="switches"><label><input type="checkbox" id="hide-before"> hide the plan</label>
<label><input type="checkbox" id="hide-after"> hide what was driven</label></p>
<main>{cities}</main></body></html>
"""
