"""`lenscape doctor`: what this installation can do, and what to install for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import __version__
from pipeline.errors import LenscapeError, masked
from pipeline.files import free_bytes
from pipeline.parallel import core_count
from pipeline.watched import open_edits

_RASTERS = {"JP2OpenJPEG": "bands of products", "GTiff": "bands as GeoTIFF", "COG": "class maps"}
_REINSTALL = "pip install --force-reinstall --no-cache-dir"
_UTM = 32633
_QGIS = "from qgis.core import Qgis; print(Qgis.QGIS_VERSION)"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_JP2 = ("GTiff", "JP2OpenJPEG")
_VECTORS = ("pyogrio", "pyarrow.parquet")
_SOURCES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "folders": ("scenes of one file a band", _JP2, ()),
    "stacks": ("scenes of one file of all bands", ("GTiff",), ()),
    "SAFE": ("products of Copernicus, folders and zips, with their masks", _JP2, ()),
    "STAC": ("searches of STAC APIs", ("GTiff",), ("pystac_client",)),
    "web pixels": (
        "pixels read in place; without that, `keep: download` in conf/fetch.yaml", ("HTTP",), ()
    ),
    "EuroSAT": ("its images, downloaded or local", ("GTiff",), ("stac_geoparquet",)),
    "polygons": ("labels of any vector format, GeoParquet too", (), _VECTORS),
    "points": ("labels of the same formats", (), _VECTORS),
    "codes": ("labels of rasters such as land-cover maps", ("GTiff",), ()),
}  # fmt: skip
"""The sources that a conf can name: a description, the GDAL drivers and the packages that read it.
GDAL has the driver HTTP where it was built with curl."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    message: str
    """What is installed, or what to do where it is missing."""
    ok: bool = True
    needed: bool = True
    """Whether the stages cannot do without it."""
    fault: str = "missing"
    """What is wrong where it is not ok."""

    def __str__(self) -> str:
        mark = "ok" if self.ok else self.fault.upper() if self.needed else "-"
        return f"{self.name:<12} {mark:<8} {self.message}"


def run(folder: Path) -> None:
    """Print what this installation can do, and the free space in `folder`.

    Raises:
        LenscapeError: when something that the stages need is missing; the message names it.
    """
    missing = []
    for check in _checks(folder):
        print(check)
        if check.needed and not check.ok:
            missing.append(check)
    if missing:
        first = missing[0]
        raise LenscapeError(f"{first.name} is {first.fault}: {first.message}.")


def _checks(folder: Path) -> Iterator[Check]:
    yield Check("lenscape", f"{__version__} in {Path(__file__).parents[2]}")
    yield Check("Python", f"{platform.python_version()}, {sys.executable}, {platform.platform()}")
    gigabytes = free_bytes(folder) / 1e9
    space = f"{gigabytes:.1f} GB free at {folder.absolute()}"
    yield Check("disk", space if gigabytes > 1 else f"{space}; free some space", ok=gigabytes > 1)
    yield _imported("rasters", _rasters)
    yield _imported("projections", _projections)
    yield _imported("vectors", _vectors)
    yield _labels(folder)
    drivers = _drivers()
    for name, (description, formats, packages) in _SOURCES.items():
        lacks = [f"GDAL lacks {driver}" for driver in formats if driver not in drivers]
        lacks += [f"{package} cannot be imported" for package in packages if not _importable(package)]
        remedy = f": not available, {' and '.join(lacks)}; run make again" if lacks else ""
        yield Check(name, f"{description}{remedy}", ok=not lacks, needed=False)
    yield _signing()
    yield _imported("accelerator", _accelerator)
    yield _imported("MLflow", _runs)
    yield _program("DVC", Path(sys.executable).parent / "dvc", "runs the stages; pip install dvc")
    yield _program("git", "git", "needed by DVC; install it with your system's package manager")
    yield from _files_of_dvc(folder)
    yield _qgis()
    browser = next(filter(shutil.which, _BROWSERS), _BROWSERS[0])
    yield _program("Chromium", browser, "only tests of the MLflow UI need it", needed=False)


def _imported(name: str, check: Callable[[], Check]) -> Check:
    """A check that imports a package; one that fails where the package cannot be imported."""
    try:
        return check()
    except ImportError as error:
        message = f"{error.name} cannot be imported ({error}); run make again"
        return Check(name, message, ok=False)


def _importable(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def _drivers() -> Container[str]:
    """The names of GDAL's drivers; none without rasterio."""
    if not _importable("rasterio"):
        return ()
    with import_module("rasterio").Env() as environment:
        drivers: dict[str, str] = environment.drivers()
    return drivers


def _rasters() -> Check:
    rasterio = import_module("rasterio")
    message = f"rasterio {rasterio.__version__} with GDAL {rasterio.__gdal_version__}"
    drivers = _drivers()
    if missing := [f"{name} for {use}" for name, use in _RASTERS.items() if name not in drivers]:
        message += f" lacks {', '.join(missing)}; {_REINSTALL} rasterio"
        return Check("rasters", message, ok=False)
    return Check("rasters", f"{message}, {', '.join(_RASTERS)}")


def _projections() -> Check:
    try:
        code = import_module("rasterio.crs").CRS.from_epsg(_UTM).to_epsg()
        ok = code == import_module("pyproj").CRS.from_epsg(_UTM).to_epsg() == _UTM
    except (ValueError, RuntimeError):  # of rasterio and of pyproj
        ok = False
    others = [name for name in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA") if name in os.environ]
    remedy = f"unset {', '.join(others)}" if others else f"{_REINSTALL} rasterio pyproj"
    message = "EPSG codes are known" if ok else f"PROJ does not find its EPSG codes; {remedy}"
    return Check("projections", message, ok=ok, fault="broken")


def _vectors() -> Check:
    pyogrio = import_module("pyogrio")
    modes = pyogrio.list_drivers()
    ok = "w" in modes.get("GPKG", "")
    remedy = "" if ok else f"; it writes no GPKG: {_REINSTALL} pyogrio"
    return Check("vectors", f"pyogrio {pyogrio.__version__}, {len(modes)} formats{remedy}", ok=ok)


def _labels(folder: Path) -> Check:
    """Whether a label file is open in a program that keeps edits beside it."""
    files = sorted(path for path in folder.glob("data/*/labels/**/*") if path.is_file())
    warnings = [*filter(None, map(open_edits, files))]
    message = "; ".join(warnings) or f"{len(files)} files, none of them open elsewhere with edits"
    return Check("labels", message.rstrip("."), ok=not warnings, needed=False)


def _signing() -> Check:
    try:
        message = f"Planetary Computer by planetary-computer {version('planetary-computer')}"
    except PackageNotFoundError:
        remedy = "without planetary-computer no files of the Planetary Computer; run make again"
        return Check("signing", remedy, ok=False, needed=False)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    stores = "Copernicus Data Space and requester-pays buckets"
    if all(map(os.environ.get, keys)):
        return Check("signing", f"{message}, {stores} by your keys", needed=False)
    return Check("signing", f"{message}; for {stores} set {' and '.join(keys)}", needed=False)


def _accelerator() -> Check:
    torch = import_module("torch")
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    elif torch.backends.mps.is_available():
        device = "Apple GPU"
    else:
        device = f"none, {core_count()} cores"
    return Check("accelerator", f"{device} (torch {torch.__version__})")


def _runs() -> Check:
    uri = import_module("pipeline.learn.tracking.tracking_uri").store_uri()
    return Check("MLflow", f"runs go to {masked(uri)}")


def _files_of_dvc(folder: Path) -> Iterator[Check]:
    """What a kill in the wrong moment can leave: DVC then fails on every command."""
    lock, outputs = folder / ".dvc" / "tmp" / "rwlock", folder / "dvc.lock"
    if lock.is_file() and not _is_mapping(lock):
        yield Check("rwlock", f"no DVC runs? then delete {lock}", ok=False, fault="broken")
    if outputs.is_file() and not _is_mapping(outputs):
        remedy = f"git checkout {outputs} (or delete it), then dvc repro: what was made is in its cache"
        yield Check("dvc.lock", remedy, ok=False, fault="broken")


def _is_mapping(path: Path) -> bool:
    """Whether a file of JSON or YAML is whole."""
    try:
        return isinstance(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")), dict)
    except (YAMLError, UnicodeDecodeError):
        return False


def _qgis() -> Check:
    for python in filter(shutil.which, ("/usr/bin/python3", sys.executable)):
        done = subprocess.run([python, "-c", _QGIS], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return Check("QGIS", f"{done.stdout.strip()} ({python})", needed=False)
    message = "only tests of outputs need it; Debian: apt-get install python3-qgis"
    return Check("QGIS", message, ok=False, needed=False)


def _program(name: str, command: str | Path, otherwise: str, *, needed: bool = True) -> Check:
    path = shutil.which(command)
    return Check(name, path or otherwise, ok=path is not None, needed=needed)
