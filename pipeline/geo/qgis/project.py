"""A QGIS project of the maps of a catalog: a group a map, its scene in true colour underneath.

Written by hand and without QGIS: no clock, no user, paths relative to the project, and layers with ids
that follow from their names, so that the same maps give the same bytes. Each layer has the style that
lies beside its file or in its GeoPackage: what a map looks like is said once.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.errors import SceneError
from pipeline.files import publish
from pipeline.geo.maps.catalog import catalogued
from pipeline.geo.qgis.project_xml import VECTORS, Group, ProjectLayer, project_xml

PROJECT = "lenscape.qgs"
_ID = "lenscape_map_layer_"  # QGIS gives an id of its own to a layer whose id has fewer than 18 signs
_RASTERS = (".tif", ".vrt")


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


def write_project(path: Path, maps: Path, errors: Path | None = None) -> int:
    """Write a QGIS project of the maps that the catalog of a folder lists; of the error map on top.

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
    on_top = [] if errors is None else [_error_layer(errors)]
    text = project_xml(on_top, groups, path.parent)
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return len(groups)


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
    layers = []
    for key, title, shown in _LAYERS:
        for end in (*_RASTERS, *VECTORS):
            path = folder / f"{name}_{key}{end}"
            if path.is_file():
                layers.append(
                    ProjectLayer(
                        f"{_ID}{path.stem}", titles.get(key) or title, path, _style(path), crs,
                        tuple(bounds), shown,
                    )
                )  # fmt: skip
    mosaic = any(re.fullmatch(r"\.\./([^/]+)/\1\.json", href) for href in sources)
    return Group(name, layers, shown=not mosaic)


def _style(path: Path) -> str:
    """The style beside a raster, or the one in a GeoPackage."""
    try:
        if path.suffix in VECTORS:
            with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
                (qml,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
                return str(qml)
        return path.with_suffix(".qml").read_text(encoding="utf-8")
    except (OSError, TypeError, sqlite3.Error) as error:
        raise SceneError(f"{path} has no style of QGIS with it; run the stage that made it.") from error


def _error_layer(path: Path) -> ProjectLayer:
    """The error map of `evaluate`, whose CRS and bounds its own table of contents states."""
    style = _style(path)
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        row = database.execute(
            "SELECT min_x, min_y, max_x, max_y, organization || ':' || organization_coordsys_id"
            " FROM gpkg_contents JOIN gpkg_spatial_ref_sys USING (srs_id)"
            " WHERE data_type = 'features'"
        ).fetchone()
    if row is None or None in row:
        raise SceneError(f"{path} holds no patches; run `evaluate` again.")
    title = "Error map: test patches, right and wrong"
    return ProjectLayer(f"{_ID}errors", title, path, style, str(row[4]).upper(), row[:4], True)
