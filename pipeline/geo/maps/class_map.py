"""The class map of a scene, its confidence, its probabilities: values, names, colours, tags.

Class map: uint8, 0 is nodata, class k of the model (from 0) is k + 1. Confidence: uint8, per cent
of the probability of that class, 255 is nodata. Probabilities: the same of every class, a band
each. All are COGs (`cog`) with a style (`style`).

GDAL keeps names of categories beside a TIFF, in `<file>.aux.xml`, which a viewer rewrites as soon
as somebody asks it for a histogram. So that our files stay as they were published, the names stand
in the older form, `<file>.aux`, an empty Erdas file, and its own `<file>.aux.aux.xml`: GDAL (and with
it QGIS) reads them where there is no `<file>.aux.xml`, copies them into it when it writes one, and
never writes to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from pipeline import __version__
from pipeline.files import sha256_of_value
from pipeline.geo.maps import overviews
from pipeline.geo.maps.areas import Tally
from pipeline.geo.maps.cog import Band, MapKind, write_cog
from pipeline.geo.maps.raster_writer import Cells, RasterWriter
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.style.colors import DISSIMILARITY_RAMP, PER_CENT_RAMP, rgb
from pipeline.geo.style.xml import readable, render
from pipeline.store_meta import ClassInfo, SceneInfo

NODATA = 0
CONFIDENCE_NODATA = 255
"""Of the confidence and of the probabilities."""
NAME_ENDS = (".aux", ".aux.aux.xml")
"""What follows the name of a class map in those of the two files with its category names."""


@dataclass(frozen=True)
class Provenance:
    """What a map says of its origin: only what follows from its inputs, no time and no path."""

    scenes: Sequence[SceneInfo]
    """The scene that was mapped; of a mosaic several, whose maps one model made."""
    bands: Sequence[str]
    """Input bands of the model, in their order."""
    cell_m: float
    """Side of the ground that the class of a pixel is claimed for: a cell around its centre."""
    patch_m: float
    """Side of the ground that the network sees for it."""
    hashes: Mapping[str, str]
    """SHA-256 by what they are of: weights, store, split, conf."""
    credit: str
    """Credit of the labels."""
    note: str = ""
    """A warning that belongs to the map, such as a level that the model was not trained on."""
    postprocessing: Mapping[str, str] = field(default_factory=dict)
    """What was made of the map beside the network's classes (`postprocessing`), by what it is."""
    fingerprint: str = ""
    """SHA-256 of all that the map is made from and by: a map of the same one need not be made anew."""

    @classmethod
    def of_mosaic(cls, origins: Sequence[Provenance]) -> Provenance:
        """That of the maps of several scenes; a warning follows the name of its scene."""
        noted = sorted((origin.scenes[0].id, origin.note) for origin in origins if origin.note)
        scenes = [scene for origin in origins for scene in origin.scenes]
        note = "; ".join(f"{scene}: {note}" for scene, note in noted)
        fingerprint = sha256_of_value([origin.fingerprint for origin in origins])
        return replace(origins[0], scenes=scenes, note=note, fingerprint=fingerprint)

    @property
    def ids(self) -> list[str]:
        """The names of the scenes, in alphabetical order."""
        return sorted(scene.id for scene in self.scenes)

    @property
    def times(self) -> tuple[str, str]:
        """The first and the last acquisition, RFC 3339, UTC."""
        times = sorted(datetime.fromisoformat(scene.datetime) for scene in self.scenes)
        first, last = (time.astimezone(UTC).isoformat() for time in (times[0], times[-1]))
        return first.replace("+00:00", "Z"), last.replace("+00:00", "Z")

    @property
    def attribution(self) -> str:
        """The sentence that Copernicus asks for with all years, then the credit of the labels."""
        years = ", ".join(sorted({scene.datetime[:4] for scene in self.scenes}))
        sentence = f"Contains modified Copernicus Sentinel data {years}"
        return ". ".join(part.rstrip(".") for part in (sentence, self.credit.strip()) if part) + "."

    def tags(self) -> dict[str, str]:
        """The tags of the TIFF, without empty ones."""
        tags = {
            "VERSION": __version__,
            "BANDS": " ".join(self.bands),
            "CELL_M": f"{self.cell_m:g}",
            "PATCH_M": f"{self.patch_m:g}",
            "NOTE": self.note,
            "SCENE" if len(self.scenes) == 1 else "SCENES": " ".join(self.ids),
            "DATETIME": "/".join(dict.fromkeys(self.times)),
            "PLATFORM": _distinct(scene.platform for scene in self.scenes),
            "LEVEL": _distinct(scene.level for scene in self.scenes),
            "BASELINE": _distinct(scene.baseline for scene in self.scenes),
            **{key.upper(): value for key, value in self.postprocessing.items()},
            **{f"{key.upper()}_SHA256": value for key, value in self.hashes.items()},
        }
        named = {f"LENSCAPE_{key}": value for key, value in tags.items() if value}
        return {"ATTRIBUTION": self.attribution} | dict(sorted(named.items()))


def _distinct(values: Iterable[str | None]) -> str:
    return " ".join(sorted({value for value in values if value}))


@dataclass(frozen=True)
class MapRecord:
    """What the Item and the side files of a map say beside its rasters."""

    origin: Provenance
    grid: PixelGrid
    classes: Sequence[ClassInfo]
    """Value from 1."""
    tally: Tally
    """The pixels and the ground of each value."""
    outside_share: float | None = None
    """Of the mapped pixels, outside the area of applicability, where it is known."""


def class_map_kind(classes: Sequence[ClassInfo]) -> MapKind:
    """Class maps of these classes: their palette, overviews by mode."""
    colors = {value: rgb(info.color) for value, info in enumerate(classes, start=1)}
    names = [readable(name) for name in ("nodata", *(info.title for info in classes))]
    style = render("raster_style.qml.j2", classes=classes)
    bands = [Band("land cover class")]
    return MapKind(bands, NODATA, overviews.mode, colors, names=names, style=style)


def probabilities_kind(classes: Sequence[ClassInfo]) -> MapKind:
    """Probabilities of these classes: a band each, by its title, its name in a tag."""
    bands = [Band(readable(info.title), {"LENSCAPE_CLASS": info.name}) for info in classes]
    return _per_cent_kind(bands)


def _per_cent_kind(bands: Sequence[Band], ramp: Mapping[int, str] = PER_CENT_RAMP) -> MapKind:
    style = render("raster_style.qml.j2", ramp=ramp)
    return MapKind(bands, CONFIDENCE_NODATA, overviews.mean, unit="%", style=style)


CONFIDENCE = _per_cent_kind([Band("confidence, per cent")])
DISSIMILARITY = _per_cent_kind(
    [Band("dissimilarity, per cent of the threshold of the area of applicability")],
    DISSIMILARITY_RAMP,
)
DISSIMILARITY_MOST = 254
"""The largest dissimilarity that is told apart, in per cent of the threshold."""


def decide(
    probabilities: npt.NDArray[np.float32], mapped: npt.NDArray[np.bool_]
) -> tuple[Cells, Cells]:
    """Class map and confidence of a block.

    Args:
        probabilities: float (K, rows, cols), at most 254 classes.
        mapped: bool (rows, cols), False where a pixel is nodata.

    Returns:
        uint8 (rows, cols) twice: the most probable class from 1, of equals the first, and its
        probability in whole per cent, halves upward.
    """
    best = probabilities.argmax(axis=0)
    highest = probabilities.max(axis=0, keepdims=True)
    classes = np.where(mapped, best + 1, NODATA).astype(np.uint8)
    return classes, per_cent(highest, mapped)[0]


def per_cent(probabilities: npt.NDArray[np.float32], mapped: npt.NDArray[np.bool_]) -> Cells:
    """Probabilities in whole per cent, halves upward: float (K, rows, cols) -> uint8 of that shape.

    Args:
        probabilities: From 0 to 1.
        mapped: bool (rows, cols), False where a pixel is nodata.
    """
    result = np.full(probabilities.shape, CONFIDENCE_NODATA, dtype=np.uint8)
    for band, share in zip(result, probabilities, strict=True):  # one at a time: float64 is large
        whole = np.clip(share.astype(np.float64) * 100 + 0.5, 0, 100).astype(np.uint8)
        np.copyto(band, whole, where=mapped)
    return result


def of_limit(dissimilarity: npt.NDArray[np.float64], mapped: npt.NDArray[np.bool_]) -> Cells:
    """Dissimilarity in per cent of its threshold, upward: above 100 is above it; uint8 (rows, cols).

    Args:
        dissimilarity: 1 at the threshold, (rows, cols).
        mapped: bool (rows, cols), False where a pixel is nodata.
    """
    whole = np.minimum(np.ceil(100 * dissimilarity), DISSIMILARITY_MOST).astype(np.uint8)
    return np.where(mapped, whole, CONFIDENCE_NODATA).astype(np.uint8)


def write_map(raster: RasterWriter, path: Path, kind: MapKind, origin: Provenance) -> None:
    """Publish a raster at `path` with its style (`.qml`) and its category names, if any, beside it.

    Raises:
        OutputError: when it cannot be written.
    """
    write_cog(raster, path, kind, origin.tags())
    if kind.names:
        _write_category_names(path, raster.grid, kind)
    path.with_suffix(".qml").write_text(kind.style, encoding="utf-8")


def _write_category_names(path: Path, grid: PixelGrid, kind: MapKind) -> None:
    """Name the values 0, 1, ... of the raster at `path` in two files beside it."""
    empty, names = (path.with_name(f"{path.name}{end}") for end in NAME_ENDS)
    description = kind.bands[0].description
    with rasterio.open(
        empty, "w", driver="HFA", dtype="uint8", count=1, height=grid.height, width=grid.width,
        AUX="YES", DEPENDENT_FILE=path.name,
    ) as dataset:  # fmt: skip
        dataset.update_tags(1, LAYER_TYPE="thematic")
        dataset.set_band_description(1, description)
    text = render("category_names.aux.xml.j2", description=description, names=kind.names)
    names.write_text(text, encoding="utf-8")
