"""Whether the pixels of a scene can be reflectance with its scale and offset.

No single pixel tells: dark water has a reflectance below 0 in products of baseline 04.00 and later, and
clouds one above 1. The distribution does: how much of a band is brighter than any ground or cloud, how
much darker than the errors of an atmospheric correction, and whether a scene has dark and bright ground
at all. What contradicts that is refused, what is doubtful is told, both with the scale and the offset
that fit the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from pipeline.bands import QUANTIFICATION
from pipeline.errors import RadiometryError
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.samples import Ranked, Sample
from pipeline.geo.scenes.scene_files import Origin

_FEWEST_PX = 256
"""Fewer valid pixels than that say nothing of a scene."""
_BRIGHTEST, _MOST_BRIGHT, _BRIGHT_MEDIAN = 2.0, 0.01, 1.5
"""No ground and no cloud is brighter, but for glint; the share that may be; and half of a band."""
_DARKEST = -0.03
"""The errors of an atmospheric correction over dark ground end about here."""
_MOST_DARK: dict[Origin, float] = {"product": 0.2, "item": 0.2, "file": 0.2}
_MOST_DARK_STATED = 0.05
"""The share that may be darker: more of it where the maker of the pixels states the offset."""
_DIM, _DUSK = 0.01, 0.05
"""The 99th percentile of the brightest band: the least of any ground, and of more than open water."""
_OFFSET_LEFT = 0.08
"""Shadow, water or woods of some band are darker, unless an offset was left in the pixels."""
_TIED = 0.01
"""Share of the pixels of every band that have one value without reflectance: it stands for nodata."""
_ZEROS_APART = 0.005
"""By how much the shares of DN 0 of two bands may differ at the edge of a swath."""
_SCALES, _OFFSETS = (1 / QUANTIFICATION, 1.0, 0.01, 0.001), (0.0, -0.1)
"""Of products and exports, the likely ones first."""
_P99 = -11
"""Where a thousand ranked values have their 99th percentile."""

type _Reflectances = Mapping[str, Ranked]


def dark_shares(samples: Mapping[str, Sample]) -> dict[str, float]:
    """About which share of a band's valid pixels has a reflectance of 0 or less, where some have."""
    shares = {name: float((sample.reflectance <= 0).mean()) for name, sample in samples.items()}
    return {name: round(share, 3) for name, share in shares.items() if share}


def zeros_apart(samples: Mapping[str, Sample]) -> list[str]:
    """What of bands on the web is 0 that is not in others: only a look at all pixels tells it apart."""
    most, least = (end(samples.values(), key=lambda one: one.zeros) for end in (max, min))
    if not is_remote(most.file.href) or most.zeros - least.zeros <= _ZEROS_APART:
        return []
    return [
        f"{most.file.href}: {most.zeros:.1%} of its pixels are 0, of another band {least.zeros:.1%}; "
        "all count as nodata of their band: `keep: download` tells dark ones from those without data."
    ]


def require_plausible(samples: Mapping[str, Sample]) -> list[str]:
    """Refuse a scene whose pixels contradict its scale and offset.

    Returns:
        What is doubtful, in a sentence each.

    Raises:
        RadiometryError: when a band, or all of them together, cannot be so.
    """
    for sample in samples.values():
        if sample.count >= _FEWEST_PX and sample.share(sample.values[0]) == 1:
            raise RadiometryError(
                f"{sample.file.href}: all of its valid pixels are {sample.values[0]:g}, as in no band "
                "of a scene; export or download it again."
            )
    reflectances = {name: sample.reflectance for name, sample in samples.items()}
    for name, problem in _faults(samples, reflectances):
        sample = samples[name]
        raise RadiometryError(
            f"{sample.file.href}: with scale {sample.band.scale:g} and offset {sample.band.offset:g}, "
            f"{problem}; {_remedy(samples, sample)}."
        )
    first = next(iter(samples.values()))
    if first.band.origin == "product":
        return []
    doubts, usual = list(_doubts(samples, reflectances)), 1.0 if first.band.reflectance else _SCALES[0]
    if first.band.origin in ("conf", "search") and not np.isclose(first.band.scale, usual, 1e-6, 0):
        doubts.append(f"its scale is {first.band.scale:g}, not {usual:g} as usual")
    return [f"{first.file.href}: {doubt}; {_remedy(samples, first)}." for doubt in doubts]


def _faults(samples: Mapping[str, Sample], reflectances: _Reflectances) -> Iterator[tuple[str, str]]:
    """What cannot be, each with the name of its band."""
    known = {name: values for name, values in reflectances.items() if samples[name].count >= _FEWEST_PX}
    for name, values in known.items():
        if (bright := float((values > _BRIGHTEST).mean())) > _MOST_BRIGHT:
            yield name, f"{bright:.0%} of its valid pixels have a reflectance above {_BRIGHTEST:g}"
        if np.median(values) > _BRIGHT_MEDIAN:
            yield name, f"half of its valid pixels have a reflectance above {_BRIGHT_MEDIAN:g}"
        dark = float((values < _DARKEST).mean())
        if dark > _MOST_DARK.get(samples[name].band.origin, _MOST_DARK_STATED):
            yield name, f"{dark:.0%} of its valid pixels have a reflectance below {_DARKEST:g}"
    if (tie := _tied(samples)) is not None and max(values[0] for values in reflectances.values()) <= 0:
        share = min(sample.share(tie) for sample in samples.values())
        yield next(iter(samples)), f"{share:.0%} of the pixels of all bands are {tie:g}, 0 or less"
    # in the cirrus band nearly all ground is black
    if lit := [name for name in known if name != "B10"]:
        name = max(lit, key=lambda name: known[name][_P99])
        if known[name][_P99] < _DIM:
            yield name, f"hardly a pixel of any band has a reflectance above {known[name][_P99]:.2g}"


def _doubts(samples: Mapping[str, Sample], reflectances: _Reflectances) -> Iterator[str]:
    """What is possible, but seldom so."""
    if max(sample.count for sample in samples.values()) < _FEWEST_PX:
        return
    if min(values[1] for values in reflectances.values()) >= _OFFSET_LEFT:
        yield f"no pixel has a reflectance below {_OFFSET_LEFT:g}: was an offset not applied?"
    if (dusk := max(values[_P99] for values in reflectances.values())) < _DUSK:
        yield f"hardly a pixel of any band has a reflectance above {dusk:.2g}: is the scale too small?"


def _tied(samples: Mapping[str, Sample]) -> float | None:
    """The least value of all bands, where many pixels have it and none is stated for nodata."""
    value = float(next(iter(samples.values())).values[0])
    many = all(_could_state_nodata(one) and one.share(value) > _TIED for one in samples.values())
    least = all(one.values[0] == value for one in samples.values())
    return value if len(samples) > 1 and many and least else None


def _could_state_nodata(sample: Sample) -> bool:
    return sample.band.nodata is None and sample.band.origin in ("conf", "file")


def _remedy(samples: Mapping[str, Sample], sample: Sample) -> str:
    """What to correct, and where, with the scale and offset that fit if there are any."""
    band = sample.band
    if band.origin == "product":
        return (
            "its own metadata state them, so the pixels were changed: download the product again, or "
            "name a folder of its bands (`path`) with a scale and an offset"
        )
    pairs = product((*_SCALES, band.scale), _OFFSETS)
    fit = next((pair for pair in pairs if _fits(samples, *pair)), None)
    what = "correct scale and offset"
    if fit is not None:
        whole = all((one.values == np.rint(one.values)).all() for one in samples.values())
        kind = "`values: dn`, " if band.reflectance and whole and fit[0] == _SCALES[0] else ""
        what = f"{kind}`scale: {fit[0]:g}` and `offset: {fit[1]:g}` fit the pixels: state them"
    where = "in the conf"
    if band.origin == "file":
        where = "in the files themselves (gdal_edit.py -scale ... -offset ...)"
    extremes = (float(sample.values[rank]) for rank in (0, -1) if _could_state_nodata(sample))
    lost = next((value for value in extremes if sample.share(value) > _TIED), None)
    nodata = "" if lost is None else f"; where {lost:g} stands for nodata, add `nodata: {lost:g}`"
    return f"{what} {where}{nodata}"


def _fits(samples: Mapping[str, Sample], scale: float, offset: float) -> bool:
    """Whether nothing contradicts a scale and an offset, or makes them doubtful."""
    reflectances = {name: sample.values * scale + offset for name, sample in samples.items()}
    return not any(_faults(samples, reflectances)) and not any(_doubts(samples, reflectances))
