"""docs/howto/stac.md as it stands, but for the address: a catalog on loopback is searched."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_bounds

from pipeline.config.sources import StacConf
from pipeline.geo.sources.stac_names import band_assets
from tests.support.catalogs import published, serving_api, write_cog
from tests.support.pages import HOWTO, follow
from tests.support.projects import DEMO, Project
from tests.support.servers import FileServer, serving
from tests.support.worlds import GRID as ANY
from tests.support.worlds import PixelGrid

PAGE = HOWTO / "stac.md"
ADDRESS = "https://earth-search.aws.element84.com/v1"


def _item(project: Project, files: FileServer) -> dict[str, Any]:
    """An Item of Earth Search of the project's own scene, whose bands become COGs on a server."""
    item = published("earth-search-v1")
    assert item["collection"] == "sentinel-2-l2a"
    for band, asset in band_assets(item, None).items():
        (path,) = (project.path / "data" / "demo" / "scenes" / "east").glob(f"*{band}.jp2")
        with rasterio.open(path) as dataset:
            left, top, pixel_m = dataset.transform.c, dataset.transform.f, dataset.res[0]
            grid = PixelGrid(ANY.epsg, left, top, dataset.height, dataset.width, pixel_m)
            write_cog(files.folder / f"{band}.tif", dataset.read(1), grid)
            bounds = transform_bounds(dataset.crs, "OGC:CRS84", *dataset.bounds)
        asset["href"] = files.url(f"{band}.tif")
    assert grid.pixel_m == 20.0, "the last band, B12, has the resolution of the classification"
    write_cog(files.folder / "SCL.tif", np.full((grid.height, grid.width), 4, np.uint8), grid)
    item["assets"]["scl"]["href"] = files.url("SCL.tif")
    item["geometry"] = json.loads(shapely.to_geojson(shapely.box(*bounds)))
    item["bbox"] = list(bounds)
    return item


@pytest.mark.slow
def test_from_an_area_to_a_map(
    finished_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    project = finished_project.copy(tmp_path, outputs=False)
    own = project.path / "data" / "own"
    shutil.copy(DEMO / "labels" / "osm_landuse.gpkg", own / "labels" / "landuse.gpkg")
    with serving(tmp_path / "files") as files:
        (tmp_path / "files").mkdir()
        item = _item(project, files)
        outline = shapely.box(*item["bbox"]).buffer(-1e-4)
        area = gpd.GeoDataFrame(geometry=[outline], crs="OGC:CRS84").to_crs(ANY.epsg)
        area.to_file(own / "scenes" / "area.geojson")
        with serving_api([item], tmp_path) as api:
            text = PAGE.read_text(encoding="utf-8")
            assert f"stac: {ADDRESS}\n" in text
            page = tmp_path / "page.md"
            page.write_text(text.replace(ADDRESS, api.rstrip("/")), encoding="utf-8")
            printed = follow(page, project)
    assert re.search(r"downloaded \d+\.\d+ MB, of 13 files of \d+\.\d+ MB: the tiles", printed)
    assert f"data/maps/{item['id']}/{item['id']}_classmap.tif" in printed
    scene = project.path / "data" / "scenes" / "train" / item["id"]
    assert len(list(scene.glob("B*.tif"))) == 12
    assert project.repro() == set(), "nothing changed, and no server is there any more"


def test_the_page_names_every_key_and_catalog() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for key in StacConf.model_fields:
        assert re.search(rf"^\|[^|]*`{key}`", text, re.MULTILINE), key
    for address in (
        ADDRESS,
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        "https://stac.dataspace.copernicus.eu/v1",
    ):
        assert f"`{address}`" in text
