"""A QGIS project of the maps of a catalog: a group a map, its scene in true colour underneath.

Written by hand and without QGIS: no clock, no user, paths relative to the project, and layers with ids
that follow from their names, so that the same maps give the same bytes. Each layer has the style that
lies beside its file or in its GeoPackage: what a map looks like is said once.
"""

from __future__ import annotations

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup
from pyproj import CRS

from pipeline.errors import SceneError
from pipeline.files import relative_path, write_text
from pipeline.geo.maps.catalog import catalogued
from pipeline.geo.raster.area import transformer
from pipeline.geo.style.xml import render

PROJECT = "lenscape.qgs"
_ID = "lenscape_map_layer_"  # QGIS gives an id of its own to a layer whose id has fewer than 18 signs
_ENDS = (".tif", ".vrt", ".gpkg")
_ERRORS = ("errors", "Error map: held-out patches, right and wrong", True)
_LABEL_ISSUES = ("label_issues", "Labels that held-out predictions contradict", False)
_WORLD = "EPSG:3857"
"""CRS of a project whose maps lie in several."""

# from the top: what may lie in the folder of a map, as `<map>_<key>` with an ending, its title where
# the Item has none, whether it is ticked when the project opens; a raster needs a `.qml` beside it
_LAYERS = (
    ("polygons", "Class map as polygons", False),
    ("dissimilarity", "Dissimilarity to the training data", False),
    ("confidence", "Confidence, per cent", False),
    ("probabilities", "Probabilities, per cent", False),
    ("classmap", "Class map", True),
    ("truecolour", "True colour", True),
)


@dataclass(frozen=True)
class ProjectLayer:
    """A layer of a project."""

    id: str
    title: str
    path: Path
    """Where it lies, or will lie, when the project is opened."""
    crs: str
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top in its CRS."""
    shown: bool

    @property
    def provider(self) -> str:
        """What QGIS reads it with: `ogr` for a GeoPackage, `gdal` for a raster."""
        return "ogr" if self.path.suffix == ".gpkg" else "gdal"

    def source(self, folder: Path) -> str:
        """Its path in a project that lies in `folder`."""
        path = relative_path(self.path, folder)
        return path if path.startswith("../") else f"./{path}"

    def style(self) -> Markup:
        """The elements of its style, which lies beside a raster and in a GeoPackage.

        Raises:
            SceneError: when it is missing or no XML.
        """
        try:
            if self.provider == "gdal":
                qml = self.path.with_suffix(".qml").read_text(encoding="utf-8")
            else:
                with closing(_database(self.path)) as database:
                    (qml,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
        except (OSError, TypeError, sqlite3.Error) as error:
            raise SceneError(
                f"{self.path} has no style of QGIS with it; run the stage that made it."
            ) from error
        return self._elements(str(qml), 3)

    def metadata(self) -> Markup | None:
        """The elements of its `.qmd`, where there is one.

        Raises:
            SceneError: when it is no XML.
        """
        path = self.path.with_suffix(".qmd")
        return self._elements(path.read_text(encoding="utf-8"), 4) if path.is_file() else None

    def _elements(self, text: str, level: int) -> Markup:
        try:
            return _elements(text, level)
        except ET.ParseError as error:
            raise SceneError(
                f"the style or the metadata of {self.path} are no XML ({error}); write them again."
            ) from error


@lru_cache(maxsize=16)  # the maps of an archive have the same styles
def _elements(text: str, level: int) -> Markup:
    """What the root of an XML text holds, indented for that depth of the project."""
    root = ET.fromstring(text)
    for child in root:
        ET.indent(child, level=level)
        child.tail = "\n" + level * "  "
    return Markup("".join(ET.tostring(child, encoding="unicode") for child in root).rstrip())


@dataclass(frozen=True)
class Group:
    """The layers of a map, from the top."""

    title: str
    layers: Sequence[ProjectLayer]
    shown: bool


def write_project(
    path: Path, maps: Path, errors: Path | None = None, label_issues: Path | None = None
) -> int:
    """Write a QGIS project of the maps that the catalog of a folder lists.

    On top are the labels that are contradicted, which are not ticked, and the error map.

    Returns:
        How many groups of maps it has.

    Raises:
        SceneError: when the folder holds no map, or a file of it is missing or broken.
        OutputError: when the place cannot be written.
    """
    names = catalogued(maps)
    if not names:
        raise SceneError(f"{maps} holds no map that its catalog lists; run `predict` first.")
    groups = [_group(maps / name, name) for name in names]
    mapped = [layer for group in groups for layer in group.layers]
    on_top = [
        _reported(file, *stated)
        for file, stated in ((label_issues, _LABEL_ISSUES), (errors, _ERRORS))
        if file is not None
    ]
    codes = {layer.crs for layer in mapped}
    crs = codes.pop() if len(codes) == 1 else _WORLD
    text = render(
        "project.qgs.j2",
        crs=crs,
        units="degrees" if CRS(crs).is_geographic else "meters",
        extent=_extent(mapped, crs),
        on_top=on_top,
        groups=groups,
        layers=[*on_top, *mapped],
        folder=path.parent,
    )
    write_text(path, text)
    return len(groups)


def _extent(layers: Sequence[ProjectLayer], crs: str) -> list[float]:
    """What of the world is seen when the project opens, all maps: left, bottom, right, top."""
    places = {(layer.crs, layer.bounds) for layer in layers}
    boxes = [transformer(code, crs).transform_bounds(*bounds) for code, bounds in places]
    left, bottom, right, top = zip(*boxes, strict=True)
    return [round(edge, 6) for edge in (min(left), min(bottom), max(right), max(top))]


def _group(folder: Path, name: str) -> Group:
    item = folder / f"{name}.json"
    try:
        content = json.loads(item.read_text(encoding="utf-8"))
        crs, bounds = str(content["properties"]["proj:code"]), content["properties"]["proj:bbox"]
        titles = {key: asset.get("title") for key, asset in content["assets"].items()}
        # the Item of a mosaic names the maps beside it
        sources = [link["href"] for link in content["links"] if link["rel"] == "derived_from"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SceneError(f"{item} is missing or no Item of a map; run `predict` again.") from error
    layers = [
        ProjectLayer(f"{_ID}{path.stem}", titles.get(key) or title, path, crs, tuple(bounds), shown)
        for key, title, shown in _LAYERS
        for path in (folder / f"{name}_{key}{end}" for end in _ENDS)
        if path.is_file()
    ]
    mosaic = any(re.fullmatch(r"\.\./([^/]+)/\1\.json", href) for href in sources)
    return Group(name, layers, shown=not mosaic)


def _reported(path: Path, key: str, title: str, shown: bool) -> ProjectLayer:
    """A layer of `evaluate`, whose CRS and bounds its own table of contents states."""
    try:
        with closing(_database(path)) as database:
            row = database.execute(
                "SELECT min_x, min_y, max_x, max_y, organization || ':' || organization_coordsys_id"
                " FROM gpkg_contents JOIN gpkg_spatial_ref_sys USING (srs_id)"
                " WHERE data_type = 'features'"
            ).fetchone()
    except sqlite3.Error:
        row = None
    if row is None or None in row:
        raise SceneError(f"{path} holds no patches; run `evaluate` again.")
    return ProjectLayer(f"{_ID}{key}", title, path, str(row[4]).upper(), row[:4], shown)


def holds_features(path: Path) -> bool:
    """Whether a GeoPackage is there and has features, of which some lie somewhere."""
    try:
        with closing(_database(path)) as database:
            query = "SELECT count(min_x) FROM gpkg_contents WHERE data_type = 'features'"
            return bool(database.execute(query).fetchone()[0])
    except sqlite3.Error:
        return False


def _database(path: Path) -> sqlite3.Connection:
    """A GeoPackage, which is read and never locked."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
