"""What is read from disk, changed at random: it is read all the same, or refused in one line.

`LENSCAPE_MUTATIONS=2000 pytest tests/test_mutations.py` draws so many of each kind.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.classes import ClassesConf
from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.fetch import FetchConf
from pipeline.config.labels import VectorLabelConf
from pipeline.config.opening import reason
from pipeline.config.predict import PredictConf
from pipeline.config.reading import load
from pipeline.config.record import Conf
from pipeline.config.sources import SafeConf
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.config.train import TrainConf
from pipeline.errors import LenscapeError
from pipeline.files import sha256_of
from pipeline.geo.images.image_file import ImageReader, find_images
from pipeline.geo.labels.sources import read_features
from pipeline.geo.raster.area_of_interest import AreaOfInterest, pixels_inside
from pipeline.geo.raster.grid import PatchGrid, Window
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.eurosat import checked
from pipeline.geo.sources.find import find_scenes
from pipeline.learn.data.held_out import FILE as HELD_OUT
from pipeline.learn.data.held_out import HeldOut
from pipeline.learn.network.classifier import META, PatchClassifier
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore
from tests.support.eurosats import make_eurosat, zipped
from tests.support.labelled import make_classes, make_labels, px_box
from tests.support.learners import model_meta
from tests.support.mutations import changed_bytes, changed_json, changed_text, changed_yaml
from tests.support.products import L1C, L2A, METADATA, make_product
from tests.support.products import zipped as zipped_product
from tests.support.stores import make_folds, make_split, make_store
from tests.support.worlds import GRID, fetched, positions, write_bands_folder, write_raster

COUNT = int(os.environ.get("LENSCAPE_MUTATIONS", "60"))
SCENE = """
train:
  - id: s1
    path: data/demo/scenes/s1
    datetime: "2017-02-16T10:21:01Z"
    scale: 0.0001
    offset: 0
    mask: {path: a.tif, invalid: [1, 2]}
    area: {path: town.gpkg, layer: town}
  - safe: data/own/x.SAFE.zip
    mask_classes: [cirrus]
  - stac: https://example.org/v1
    collection: sentinel-2-l2a
    area: [12.0, 52.0, 12.1, 52.1]
    datetime: 2023-06
  - id: s2
    stack: stack.tif
    bands: [B02, null]
    datetime: "2017-02-16T10:21:01Z"
map: train
mask_grow_m: 100
area: {bbox: [380000, 5810000, 390000, 5820000], crs: EPSG:32633}
"""
CONFS: list[tuple[type[Conf], str]] = [
    (FetchConf, SCENE),
    (FetchConf, "train:\n  - eurosat: download\nmap: []\n"),
    (
        TileConf,
        "labels:\n  - path: a.gpkg\n    attribute: c\n    valid_from: '2017-01-01'\n  - raster: b.tif\n"
        "bands: all\npatch_px: 16\ncell_px: 8\nstride_px: 8\nmin_purity: 0.6\nseed: 0\n"
        "exclude: {path: fields.gpkg, layer: fields}\n",
    ),
    (
        ClassesConf,
        "credit: c\nclasses:\n  - name: a\n    color: '#000000'\n    values: [a, 1]\n    code: 3\n"
        "  - name: b\n    color: '#ffffff'\n    title: B\nignore: [x]\n",
    ),
    (SplitConf, "seed: 0\nblock_m: 1920\nfolds: 5\nvalidation: 0.2\ntest: 0.2\n"),
    (
        TrainConf,
        "bands: [B02]\nnetwork:\n  convolutions:\n    - filters: 4\n      pool: {size: 2}\n"
        "  dense: []\nepochs: 3\nlr: 0.1\naugment:\n  flips: true\n",
    ),
    (EvaluateConf, "baselines: [majority]\ngallery: 3\ncard:\n  purpose: p\n  limits: [a]\n"),
    (
        PredictConf,
        "model: trained\nmin_confidence: 5\nmosaic:\n  min_scenes: 2\npolygons: none\n"
        "area: [12.0, 52.0, 12.1, 52.1]\n",
    ),
    (ComputeConf, "accelerator: cpu\nworkers: 2\nmemory_mb: 1024\n"),
]

type Try = Callable[[Path, random.Random], None]
"""Changes one of the files of a kind in a folder, and reads it."""


def _conf(folder: Path, draw: random.Random) -> None:
    model, text = draw.choice(CONFS)
    path = folder / "x.yaml"
    path.write_text(changed_yaml(text, draw), encoding="utf-8", errors="surrogatepass")
    load(path, model)


def _labels(folder: Path, draw: random.Random) -> None:
    path = folder / "labels.geojson"
    if not path.exists():
        boxes = [("a", px_box(GRID, 10, 10, 30, 30)), ("b", px_box(GRID, 50, 50, 30, 30))]
        make_labels(folder / "good.geojson", [*boxes, (None, px_box(GRID, 90, 10, 20, 20))])
    good = (folder / "good.geojson").read_text()
    if draw.random() < 0.8:
        path.write_text(changed_json(json.loads(good), draw), errors="replace")
    else:
        path.write_text(changed_text(good, draw))
    conf = VectorLabelConf(path=str(path), attribute="kind")
    cells = PatchGrid(GRID, 16, 8)
    labels = read_features(conf, make_classes("a", "b"), "classes.yaml").on(cells)
    if labels is not None:
        labels.pixels(GRID.window)


def _area(folder: Path, draw: random.Random) -> None:
    """The file of an area, or its box, on the ground of a scene."""
    good, path = folder / "good.geojson", folder / "area.geojson"
    if not good.exists():
        make_labels(good, [("a", px_box(GRID, 10, 10, 30, 30)), ("b", px_box(GRID, 50, 50, 30, 30))])
    if draw.random() < 0.7:
        path.write_text(changed_json(json.loads(good.read_text()), draw), errors="replace")
        text = f"area: {path}\n"
    else:
        west, south, east, north = GRID.bounds
        box = f"area:\n  bbox: [{west}, {south}, {east}, {north}]\n  crs: EPSG:{GRID.epsg}\n"
        codes = ["EPSG:4979", "EPSG:4978", "EPSG:5703", "EPSG:3411", "EPSG:2193", "EPSG:99999"]
        other = box.replace(str(GRID.epsg), draw.choice(codes).removeprefix("EPSG:"))
        text = changed_yaml(box, draw) if draw.random() < 0.7 else other
    conf = folder / "predict.yaml"
    conf.write_text(text, encoding="utf-8", errors="surrogatepass")
    if (area := load(conf, PredictConf).area) is not None:
        pixels_inside(AreaOfInterest.read(area).on(GRID), GRID)


def _store(folder: Path, draw: random.Random) -> None:
    if not (folder / "good").exists():
        store = make_store(folder / "good" / "patches", count=20, patch_px=8, cell_px=4)
        make_split(folder / "good" / "split", store)
        make_folds(folder / "good" / "folds", store)
    shutil.rmtree(folder / "s", ignore_errors=True)
    shutil.copytree(folder / "good", folder / "s")
    split = draw.choice(["split", "folds"])
    files = "patches/meta.json", "patches/patches.parquet", "patches/pixels.npy"
    path = folder / "s" / draw.choice([*files, f"{split}/split.json", f"{split}/parts.parquet"])
    if path.suffix == ".json":
        path.write_text(changed_json(json.loads(path.read_text()), draw), errors="replace")
    elif path.suffix == ".parquet" and draw.random() < 0.5:
        table = pq.read_table(path)
        name = draw.choice(table.column_names)
        odd: list[Any] = [[None], [[1.5]], ["x"], [-1], [float("nan")], [b"\xff"], [{"a": 1}], [2**62]]
        column = pa.array(draw.choice(odd) * len(table))
        pq.write_table(table.set_column(table.column_names.index(name), name, column), path)
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    store = PatchStore.open(folder / "s" / "patches")
    opened = SplitFolder.open(folder / "s" / split, store)
    store.statistics(opened.rows("train"))
    assert len(opened.tested) <= len(store)
    np.bincount(store.patches["label"], minlength=len(store.meta.classes))


def _item(folder: Path, draw: random.Random) -> None:
    if not (folder / "c").exists():
        bands = write_bands_folder(folder / "bands", GRID, {"B02": positions(GRID)})
        mask = write_raster(folder / "m.tif", np.zeros((GRID.height, GRID.width), np.uint8), GRID)
        fetched(folder / "c", bands, mask={"path": str(mask)}, platform="x", level="L1C")
        shutil.copy(folder / "c" / "s1" / "s1.json", folder / "good.json")
    path = folder / "c" / "s1" / "s1.json"
    good = (folder / "good.json").read_text()
    if draw.random() < 0.9:
        path.write_text(changed_json(json.loads(good), draw))
    else:
        path.write_text(changed_text(good, draw))
    scene = Scene.open(path)
    scene.read(Window(0, 0, 20, 20), scene.bands)


def _safe(folder: Path, draw: random.Random) -> None:
    name = draw.choice([L1C, L2A])
    root, text = folder / f"{name}.SAFE", (METADATA / f"{name}.xml").read_text()
    if not root.exists():
        for image in _images(text):
            file = root / f"{image}.jp2"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    for _ in range(draw.randint(1, 3)):
        text = _changed_xml(text, draw)
    (root / f"MTD_MSI{'L1C' if name == L1C else 'L2A'}.xml").write_text(text)
    find_scenes(SafeConf(safe=str(root)), Downloads(folder / "downloads"))


def _safe_zip(folder: Path, draw: random.Random) -> None:
    good = folder / f"{L1C}.SAFE.zip"
    if not good.exists():
        zipped_product(make_product(folder))
    (folder / "changed").mkdir(exist_ok=True)
    path = folder / "changed" / good.name
    if draw.random() < 0.5:
        path.write_bytes(changed_bytes(good.read_bytes(), draw))
    else:
        names = [
            "../x.jp2",
            "/x.jp2",
            f"{L1C}.SAFE/../../x",
            f"{'x' * 300}/y",
            "a\n.jp2",
            f"{L1C}.SAFE",
        ]
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
            odd = draw.choice(old.namelist())
            for entry in old.namelist():
                content = old.read(entry)
                if entry == odd and draw.random() < 0.5:
                    content = draw.choice([b"", changed_bytes(content, draw)])
                name = draw.choice(names) if entry == odd and draw.random() < 0.7 else entry
                new.writestr(name, content)
    find_scenes(SafeConf(safe=str(path)), Downloads(folder / "downloads"))
    assert {one.name for one in folder.iterdir()} <= {f"{L1C}.SAFE", good.name, "changed", "downloads"}


def _images(text: str) -> list[str]:
    return [part.partition("<")[0] for part in text.split("<IMAGE_FILE>")[1:]]


def _changed_xml(text: str, draw: random.Random) -> str:
    """The metadata with the text of an element, or a piece anywhere, changed."""
    if draw.random() < 0.2:
        return changed_text(text, draw)
    starts = [at for at, letter in enumerate(text[:-1]) if letter == ">" and text[at + 1] not in "\n<"]
    start = draw.choice(starts) + 1
    end = text.index("<", start)
    value = draw.choice(["", "x", "abc", "1e309", "nan", "-1", "0", "..", "2023-06-25", "&lt;", "B99_"])
    return text[:start] + value + text[end:]


def _model(folder: Path, draw: random.Random) -> None:
    if not (folder / "good").exists():
        PatchClassifier(model_meta("lenet5", patch_px=32)).save(folder / "good")
    shutil.rmtree(folder / "m", ignore_errors=True)
    shutil.copytree(folder / "good", folder / "m")
    path = folder / "m" / META
    if draw.random() < 0.7:
        path.write_text(changed_json(json.loads(path.read_text()), draw), errors="replace")
    else:
        weights = folder / "m" / "weights.safetensors"
        weights.write_bytes(changed_bytes(weights.read_bytes(), draw))
        meta = json.loads(path.read_text()) | {"weights_sha256": sha256_of(weights)}
        path.write_text(json.dumps(meta))
    classifier = PatchClassifier.load(folder / "m")
    classifier(
        classifier.mean.new_zeros(
            1, len(classifier.meta.bands), *[classifier.meta.geometry.patch_px] * 2
        )
    )


def _held_out(folder: Path, draw: random.Random) -> None:
    """The predictions of networks of folds, whose hash is that of what somebody made of them."""
    names = ["a", "b"]
    path, good = folder / HELD_OUT, folder / "good.parquet"
    if not good.exists():
        numbers = np.arange(20)
        logits = np.stack([numbers, -numbers], axis=1).astype(np.float32)
        made = HeldOut(numbers, numbers % 2, logits, numbers / 10.0)
        pq.write_table(pa.table(made.columns(names)), good)
    if draw.random() < 0.5:
        table = pq.read_table(good)
        name = draw.choice(table.column_names)
        odd: list[Any] = [[None], [[1.5]], ["x"], [b"\xff"], [{"a": 1}]]
        column = pa.array(draw.choice(odd) * len(table))
        changed = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(changed if draw.random() < 0.7 else table.drop_columns([name]), path)
    else:
        path.write_bytes(changed_bytes(good.read_bytes(), draw))
    HeldOut.read(path, sha256_of(path), names)


def _eurosat(folder: Path, draw: random.Random) -> None:
    good = folder / "good.zip"
    if not good.exists():
        zipped(make_eurosat(folder / "images", per_class=1, labels=("Forest", "River")), good)
    path = folder / "x.zip"
    if draw.random() < 0.5:
        path.write_bytes(changed_bytes(good.read_bytes(), draw))
    else:
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
            for entry in old.namelist():
                content = old.read(entry)
                kind = draw.randrange(4)
                name = draw.choice(
                    [entry, ".", "a/b.tif", f"{'x' * 300}/y.tif", "/a/b.tif", "a/\n.tif"]
                )
                new.writestr(
                    name if kind == 0 else entry,
                    (content, b"", changed_bytes(content, draw), content)[kind],
                )
    with ImageReader() as reader:
        for file in find_images(path):
            checked(file, reader)


KINDS: dict[str, Try] = {
    "conf": _conf, "labels": _labels, "area": _area, "store": _store, "item": _item, "safe": _safe,
    "model": _model, "eurosat": _eurosat, "held out": _held_out, "safe zip": _safe_zip,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    refused = 0
    for seed in range(COUNT):
        try:
            KINDS[kind](tmp_path, random.Random(f"{kind} {seed}"))
        except LenscapeError as error:
            said = str(error)
            assert said.endswith("."), f"{kind} {seed}: {said}"
            assert "\n" not in said, f"{kind} {seed}: {said}"
            assert len(said) < 1000, f"{kind} {seed}: {said}"
            refused += 1
        except Exception as error:
            pytest.fail(f"{kind} {seed} ends in {reason(error)}")
    assert refused > COUNT / 10, "many changes are no small matter"
