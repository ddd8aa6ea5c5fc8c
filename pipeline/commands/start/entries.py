"""The entries of `fetch.yaml`: what kind of source a file is, and what its files and options state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.commands.start.given import WHERE, free_name, listed, slug
from pipeline.config.record import Conf
from pipeline.config.sources import (
    EurosatConf,
    SafeConf,
    SceneConf,
    StacConf,
    StackConf,
    StatedConf,
)
from pipeline.errors import ConfigError, RadiometryError, SceneError
from pipeline.geo.raster.archive import opened_zip
from pipeline.geo.raster.raster_file import FLOATS, opened, read_decimated
from pipeline.geo.sources.eurosat import DOWNLOAD
from pipeline.geo.sources.folder import band_files
from pipeline.geo.sources.stated import CLASSIFICATION, band_metadata

RECORDS: dict[str, type[Conf]] = {
    "path": SceneConf,
    "stack": StackConf,
    "safe": SafeConf,
    "stac": StacConf,
    "eurosat": EurosatConf,
}
"""The record of an entry by the key that names its files."""
_PAGES = {"path": "stack", "stack": "stack", "safe": "safe", "stac": "stac", "eurosat": "eurosat"}
_OF_ONE = ("id", "datetime", "mask")
"""Keys that differ from scene to scene."""
_RASTERS = {".jp2", ".tif", ".tiff"}
_DATE = r"(?<!\d)(20[1-4]\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])"
_TIME = re.compile(_DATE + r"T([01]\d|2[0-3])([0-5]\d)([0-5]\d)")
_DAY = re.compile(_DATE + r"(?!\d)")
_CHECK_PX = 256


def kind_of(name: str) -> str:
    """The key of `fetch.yaml` that goes with a file, a folder or an address.

    Raises:
        SceneError: when it does not exist.
    """
    path = Path(name)
    if re.match(r"https?://", name):
        return "stac"
    if name == "eurosat" and not path.exists():
        return name
    if not path.exists():
        raise SceneError(
            f"{name} does not exist; give a folder of bands, a GeoTIFF of all bands, a SAFE product, a "
            "folder or zip of EuroSAT, or the address of a STAC API."
        )
    if path.is_file() and path.suffix.lower() != ".zip":
        return "safe" if path.suffix.lower() == ".xml" else "stack"
    return _kind_of_many(path)


def _kind_of_many(path: Path) -> str:
    """The key that goes with a folder or a zip, by the names of the files in it."""
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    else:
        with opened_zip(path) as archive:
            names = archive.namelist()
    rasters = [name for name in names if is_raster(name)]
    if path.is_dir() and any("/" not in name for name in rasters):
        return "path"
    if any(re.search(r"MTD[^/]*\.xml$", name) for name in names):
        return "safe"
    if rasters:
        return "eurosat"
    return "path" if path.is_dir() else "safe"


def is_raster(file: str) -> bool:
    """Whether a file is one that bands may be, by its name."""
    path = Path(file)
    return path.suffix.lower() in _RASTERS and not path.name.startswith(".")


def require_options(kinds: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    """Refuse options that would be passed over, or that cannot be those of several scenes.

    Raises:
        ConfigError: when there is one.
    """
    for key in keys:
        taking = [name for name, kind in kinds.items() if key in RECORDS[kind].model_fields]
        option = f"--{key.replace('_', '-')}"
        if not taking:
            raise ConfigError(
                f"{WHERE}: {option} goes with none of {listed(list(kinds))}; leave it out (what such a "
                f"source takes: docs/howto/{_PAGES[next(iter(kinds.values()))]}.md)."
            )
        if len(taking) > 1 and key in _OF_ONE:
            raise ConfigError(
                f"{WHERE}: {option} is that of one scene, but {listed(taking)} are {len(taking)}; "
                f"start with one of them and add the others to conf/fetch.yaml, each with its {key}."
            )


def stated_entry(name: str, kind: str, keys: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """A source as `fetch.yaml` will state it, with its paths as they are now.

    Args:
        name: A path or an address.
        kind: Its key in `fetch.yaml`.
        keys: What options state.
        ids: Those of other scenes, none of which it takes.

    Raises:
        LenscapeError: when something is missing that neither files nor options state.
    """
    entry: dict[str, Any] = {}
    path = Path(name)
    if kind in ("path", "stack"):
        own = path.resolve().name if kind == "path" else path.stem
        entry["id"] = free_name(slug(own, "scene"), ids)
    entry[kind] = str(path.parent) if path.suffix.lower() == ".xml" else name
    if kind == "eurosat" and not path.exists():
        entry[kind] = DOWNLOAD
    if kind == "stac":
        entry["collection"] = "sentinel-2-l2a"
    entry |= {key: value for key, value in keys.items() if key in RECORDS[kind].model_fields}
    if issubclass(RECORDS[kind], StatedConf):
        _complete(entry, kind, path)
    elif kind == "stac" and (missing := {"area", "datetime"} - entry.keys()):
        raise ConfigError(
            f"{WHERE}: a search of {name} needs {listed([f'--{key}' for key in sorted(missing)])}: "
            "--area is a vector file or west,south,east,north in degrees, --datetime a range as "
            "2023-06-01/2023-08-31 (docs/howto/stac.md)."
        )
    return entry


def _complete(entry: dict[str, Any], kind: str, path: Path) -> None:
    """Add what the files say of themselves to the entry of a folder or a stack."""
    files = list(band_files(path).values()) if kind == "path" else [path]
    _state_values(entry, files)
    _require_radiometry(entry, files, path)
    if "datetime" in entry:
        entry["datetime"], said = moment(entry["datetime"])
    else:
        names = " ".join([path.resolve().name, *(file.name for file in files)])
        if (found := _moment_in(names)) is None:
            raise SceneError(
                f"{path}: neither its name nor those of its files have the time of acquisition; state "
                "it as --datetime 2017-02-16T10:21:01Z, or the day alone, --datetime 2017-02-16."
            )
        entry["datetime"], said = moment(found)
        said = f"from the names of the files{said and ', '}{said}"
    print(f"{path}: acquired {entry['datetime']}" + (f" ({said})" if said else ""))


def moment(text: str) -> tuple[str, str]:
    """A time as the conf has it, and what was assumed; any text that is no time as it is."""
    try:
        stated = datetime.fromisoformat(re.sub(r"(?<=^\d{4}-\d\d-\d\d)Z$", "", text.strip()))
    except ValueError:
        return text, ""
    if stated.tzinfo is not None:
        return text, ""
    day_alone = re.fullmatch(r"[\d-]{8,10}Z?", text.strip())
    said = "no time of day is stated: 00:00 UTC is assumed" if day_alone else "UTC is assumed"
    return f"{stated:%Y-%m-%dT%H:%M:%S}Z", said


def _moment_in(names: str) -> str | None:
    """The first time in some names, or the only day; None where there is none."""
    if (time := _TIME.search(names)) is not None:
        return "{}-{}-{}T{}:{}:{}Z".format(*time.groups())
    days = {"-".join(groups) for groups in _DAY.findall(names)}
    return days.pop() if len(days) == 1 else None


def _state_values(entry: dict[str, Any], files: list[Path]) -> None:
    """State that values are reflectance where the files hold fractions, which no DN is."""
    if "values" in entry:
        return
    with opened(str(files[0])) as dataset:
        if dataset.dtypes[0] not in FLOATS:
            return
        values = read_decimated(dataset, _CHECK_PX, 1)
    finite = values[np.isfinite(values)]
    if len(finite) and (finite != np.rint(finite)).any():
        entry["values"] = "reflectance"
        print(f"{files[0]}: floats with fractions, so values: reflectance")


def _require_radiometry(entry: dict[str, Any], files: list[Path], path: Path) -> None:
    """Ask for scale and offset where neither an option nor the files state them.

    Raises:
        RadiometryError: when they are missing.
    """
    if entry.get("values") == "reflectance":
        return
    layers = [metadata for file in files for metadata in band_metadata(str(file))]
    bands = [one for one in layers if one.description != CLASSIFICATION]
    # of a file that states the scale alone, `fetch` takes the offset for 0
    known = {
        "scale": all(one.scale is not None for one in bands),
        "offset": all((one.scale, one.offset) != (None, None) for one in bands),
    }
    missing = [f"--{key}" for key, in_files in known.items() if key not in entry and not in_files]
    if missing:
        raise RadiometryError(
            f"{path}: its radiometry is unknown; state {' and '.join(missing)}, reflectance = DN * "
            "scale + offset (as ESA gives its products: --scale 0.0001 with --offset 0 before "
            "processing baseline 04.00, with --offset -0.1 from then on; docs/howto/stack.md)."
        )
