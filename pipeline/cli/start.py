"""`lenscape start`, which takes what `fetch` and `tile` take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from pipeline.cli.options import EXISTING

_OF_LABELS = ("attribute", "layer", "x", "y", "crs", "encoding")


class Bands(click.ParamType[list[str | None]]):
    """Names of bands with commas between them."""

    name = "bands"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str | None]:
        """The band of each layer, None for `null`."""
        del param, ctx
        if isinstance(value, list):
            return value
        return [None if name.strip() == "null" else name.strip() for name in value.split(",")]


class Area(click.ParamType[str | list[float]]):
    """A file, or west,south,east,north in degrees."""

    name = "area"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | list[float]:
        """The path, or the four numbers."""
        del param, ctx
        if isinstance(value, str) and re.fullmatch(r"[-\d.eE+]+(,[-\d.eE+]+){3}", value):
            return [float(number) for number in value.split(",")]
        return value  # type: ignore[no-any-return]


def _option(name: str, text: str, **settings: Any) -> Callable[[Any], Any]:
    return click.option(name, help=text, **settings)


@click.command()
@_option(
    "--scene",
    "A folder of one file per band, a GeoTIFF of all bands, a SAFE folder or zip, a folder or zip of "
    "EuroSAT (`eurosat` downloads it), or the address of a STAC API; may be given several times.",
    multiple=True,
    required=True,
)
@_option("--map", "The same, to be mapped alone.", multiple=True)
@_option(
    "--labels",
    "A file of polygons or points, a CSV table of points, or a raster of codes; of several the first "
    "that has a class wins.",
    type=EXISTING,
    multiple=True,
)
@_option("--attribute", "The attribute that holds the class, where there are several.")
@_option("--layer", "The layer of the labels, where the file has several.")
@_option("--x", "Of a table, the column of eastings or longitudes.")
@_option("--y", "The column of northings or latitudes.")
@_option("--crs", "The CRS of the labels where their file has none, such as EPSG:4326.")
@_option("--encoding", "The encoding of the labels' texts, such as cp1252.")
@_option("--credit", "Attribution of the labels; written into every map.")
@_option("--datetime", "Time of acquisition, or the day; from the names of the files where absent.")
@_option("--scale", "Reflectance per DN, such as 0.0001.", type=float)
@_option("--offset", "Reflectance at DN 0: -0.1 from baseline 04.00 on, or 0.", type=float)
@_option("--values", "What the files hold.", type=click.Choice(["dn", "reflectance"]))
@_option("--nodata", "The value that stands for none.", type=float)
@_option("--bands", "Of a GeoTIFF, the band of each layer: B02,B03,null,SCL.", type=Bands())
@_option(
    "--mask",
    "A raster of the pixels to leave out; `none` for a product whose own mask is missing.",
    type=EXISTING,
)
@_option("--invalid", "A value of it that marks them; 1 where absent.", type=int, multiple=True)
@_option("--level", "Processing level.", type=click.Choice(["L1C", "L2A"]))
@_option("--platform", "Satellite, such as sentinel-2a.")
@_option("--baseline", "Processing baseline, such as 05.09.")
@_option("--id", "Name of the scene; that of its files where absent.")
@_option("--collection", "Of a STAC API; sentinel-2-l2a where absent.")
@_option("--area", "A vector file, or west,south,east,north in degrees.", type=Area())
@_option("--cloud-cover", "Largest share of cloud that a catalog states, per cent.", type=float)
@_option("--max-scenes", "Of more scenes the least cloudy are taken; 1 where absent.", type=int)
@_option(
    "--keep", "What becomes of the pixels of a STAC API.", type=click.Choice(["download", "remote"])
)
@_option("--copy", "Copy the files to data/own/ instead of linking them.", is_flag=True)
def start(**options: Any) -> None:
    """Set up scenes and labels of your own: look at them, say what they are, and write the conf."""
    from pipeline.commands.start.command import run
    from pipeline.commands.start.given import Given

    given = {key: value for key, value in options.items() if value not in (None, ())}
    label_keys = {key: given.pop(key) for key in _OF_LABELS if key in given}
    inputs = {
        "scenes": given.pop("scene"),
        "to_map": given.pop("map", ()),
        "labels": given.pop("labels", ()),
        "credit": given.pop("credit", None),
        "copy": given.pop("copy"),
    }
    invalid = list(given.pop("invalid", (1,)))
    if "mask" in given:
        path = str(given["mask"])
        given["mask"] = path if path == "none" else {"path": path, "invalid": invalid}
    run(Given(scene_keys=given, label_keys=label_keys, **inputs))
