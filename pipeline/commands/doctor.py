"""`lenscape doctor`: what this installation can do, and what to install for the rest."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import LenscapeError
from pipeline.files import free_bytes

_RASTERS = {"JP2OpenJPEG": "bands of products", "GTiff": "bands as GeoTIFF", "COG": "class maps"}
_QGIS = "from qgis.core import Qgis; print(Qgis.QGIS_VERSION)"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


_SOURCES = {
    "folders": ("scenes of one file a band", ("GTiff", "JP2OpenJPEG"), ()),
    "stacks": ("scenes of one file of all bands", ("GTiff",), ()),
    "SAFE": (
        "products of Copernicus, folders and zips, with their masks",
        ("GTiff", "JP2OpenJPEG"),
        (),
    ),
    "STAC": ("searches of STAC APIs", ("GTiff",), ("pystac_client",)),
    "EuroSAT": ("its images, downloaded or there", ("GTiff",), ("stac_geoparquet",)),
    "polygons": ("labels of any vector format, GeoParquet too", (), ("pyogrio", "pyarrow.parquet")),
    "points": ("labels of the same formats", (), ("pyogrio", "pyarrow.parquet")),
    "codes": ("labels of rasters such as land-cover maps", ("GTiff",), ()),
}
"""What can be named in the conf: in words, and the drivers of GDAL and packages that read it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """What it is, in a word or two."""
    text: str
    """What was found, or what to do where it is missing."""
    ok: bool = True
    needed: bool = True
    """Whether the stages cannot do without it."""

    def __str__(self) -> str:
        mark = "ok" if self.ok else "MISSING" if self.needed else "-"
        return f"{self.what:<12} {mark:<8} {self.text}"


def run(folder: Path) -> None:
    """Print what this installation can do, and what `folder` offers as a place to work in.

    Raises:
        LenscapeError: when something that the stages need is missing; the message names it.
    """
    broken = []
    for finding in _findings(folder):
        print(finding)
        if finding.needed and not finding.ok:
            broken.append(finding)
    if broken:
        raise LenscapeError(f"{broken[0].what} is missing: {broken[0].text}.")


def _findings(folder: Path) -> Iterator[Finding]:
    yield Finding("lenscape", f"{__version__} in {Path(__file__).parents[2]}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}, {platform.platform()}")
    gigabytes = free_bytes(folder) / 1e9
    text = f"{gigabytes:.1f} GB free at {folder.absolute()}"
    yield Finding("disk", text if gigabytes > 1 else f"{text}; free some space", ok=gigabytes > 1)
    yield from _checked("rasters", "rasterio", _rasters)
    yield from _checked("vectors", "pyogrio", _vectors)
    yield from _sources()
    yield from _checked("web pixels", "rasterio", _web)
    yield _signing()
    yield from _checked("accelerator", "torch", _accelerator)
    yield from _checked("MLflow", "pipeline.learn.tracking", _runs)
    yield _program("DVC", Path(sys.executable).parent / "dvc", "runs the stages; pip install dvc")
    yield _program("git", "git", "needed by DVC; install it with your system's package manager")
    yield _qgis()
    browser = next(filter(shutil.which, _BROWSERS), _BROWSERS[0])
    yield _program("Chromium", browser, "only tests of the MLflow UI need it", needed=False)


def _checked(what: str, module: str, look: Any) -> Iterator[Finding]:
    """What `look` finds in a module; or that the module cannot be imported, and why."""
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        yield Finding(what, f"{module} cannot be imported ({error}); run make again", ok=False)
    else:
        yield from look(loaded)


def _rasters(rasterio: Any) -> Iterator[Finding]:
    with rasterio.Env() as environment:
        drivers = environment.drivers()
    missing = [f"{name} for {use}" for name, use in _RASTERS.items() if name not in drivers]
    built = f"rasterio {rasterio.__version__} with GDAL {rasterio.__gdal_version__}"
    if missing:
        remedy = "pip install --force-reinstall --no-cache-dir rasterio"
        yield Finding("rasters", f"{built} lacks {', '.join(missing)}; {remedy}", ok=False)
    else:
        yield Finding("rasters", f"{built}, {', '.join(_RASTERS)}")


def _vectors(pyogrio: Any) -> Iterator[Finding]:
    modes = pyogrio.list_drivers()
    ok = "w" in modes.get("GPKG", "")
    remedy = "" if ok else "; it writes no GPKG: pip install --force-reinstall --no-cache-dir pyogrio"
    yield Finding("vectors", f"pyogrio {pyogrio.__version__}, {len(modes)} formats{remedy}", ok=ok)


def _sources() -> Iterator[Finding]:
    """Which scenes and labels can be read, and why others cannot."""
    drivers = _drivers()
    for what, (text, formats, packages) in _SOURCES.items():
        lacking = [f"GDAL lacks {name}" for name in formats if name not in drivers]
        lacking += [f"{name} cannot be imported" for name in packages if not _importable(name)]
        said = f"{text}: not here, {' and '.join(lacking)}; run make again" if lacking else text
        yield Finding(what, said, ok=not lacking, needed=False)


def _drivers() -> Container[str]:
    try:
        rasterio = importlib.import_module("rasterio")
    except ImportError:
        return ()
    with rasterio.Env() as environment:
        drivers: dict[str, str] = environment.drivers()
    return drivers


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _web(rasterio: Any) -> Iterator[Finding]:
    with rasterio.Env() as environment:
        ok = "HTTP" in environment.drivers()  # GDAL has it where it was built with curl
    lacks = "; this GDAL reads no pixels where they lie: `keep: download` in conf/fetch.yaml"
    text = f"downloads by parts{' and pixels read where they lie' if ok else lacks}"
    yield Finding("web pixels", text, ok=ok, needed=False)


def _signing() -> Finding:
    try:
        text = f"Planetary Computer by planetary-computer {version('planetary-computer')}"
    except PackageNotFoundError:
        remedy = "without planetary-computer no files of the Planetary Computer; run make again"
        return Finding("signing", remedy, ok=False, needed=False)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    store = "Copernicus Data Space and stores whose readers pay"
    if all(map(os.environ.get, names)):
        return Finding("signing", f"{text}, {store} by your keys", needed=False)
    return Finding("signing", f"{text}; for {store} set {' and '.join(names)}", needed=False)


def _accelerator(torch: Any) -> Iterator[Finding]:
    if torch.cuda.is_available():
        found = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    elif torch.backends.mps.is_available():
        found = "Apple GPU"
    else:
        found = f"none, {os.cpu_count()} cores"
    yield Finding("accelerator", f"{found} (torch {torch.__version__})")


def _runs(tracking: Any) -> Iterator[Finding]:
    yield Finding("MLflow", f"runs go to {tracking.store_uri()}")


def _qgis() -> Finding:
    for python in filter(shutil.which, ("/usr/bin/python3", sys.executable)):
        done = subprocess.run([python, "-c", _QGIS], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return Finding("QGIS", f"{done.stdout.strip()} ({python})", needed=False)
    text = "only tests of outputs need it; Debian: apt-get install python3-qgis"
    return Finding("QGIS", text, ok=False, needed=False)


def _program(what: str, name: str | Path, otherwise: str, *, needed: bool = True) -> Finding:
    found = shutil.which(name)
    return Finding(what, found or otherwise, ok=found is not None, needed=needed)
