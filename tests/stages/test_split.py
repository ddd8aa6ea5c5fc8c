"""Stage split: a store in, parts, statistics, audit and layers for QGIS out."""

import json
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import ConfigError, OutputError, SplitError, StoreError
from pipeline.files import sha256_of
from pipeline.split_folder import SplitFolder
from pipeline.stages import split
from tests.support.stores import join, make_store, make_table
from tests.support.viewers import open_layers_in_qgis

CONF = "seed: 3\nblock_m: 960\nfolds: null\n"
FOLDS = "seed: 3\nblock_m: 960\nfolds: 3\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of two dates with training patches between the cells and nodata in its pixels."""
    once = make_table(80, 80, 3, stride_px=4)
    twice = join(once, {**once, "scene": np.full(len(once["x"]), "s2")})
    folder = tmp_path_factory.mktemp("store") / "patches"
    return make_store(folder, twice, bands=["B02", "B08"], patch_px=10, nodata=0.02)


@pytest.fixture(scope="module")
def done(store, tmp_path_factory):
    return run(store, tmp_path_factory.mktemp("split"), CONF)


def run(store, folder, text):
    (folder / "split.yaml").write_text(text)
    split.run(folder / "split.yaml", store.folder, folder / "split", folder / "reports" / "audit.json")
    return folder


def test_the_split_opens_and_its_statistics_are_those_of_training_alone(store, done):
    opened = SplitFolder.open(done / "split", store)
    assert len(opened.columns["part"]) == len(store)
    train = opened.rows("train")
    pixels = np.asarray(store.pixels)[train].transpose(1, 0, 2, 3).reshape(2, -1).astype(float)
    for band, values in enumerate(pixels):
        assert opened.split.statistics.mean[band] == pytest.approx(values[values > 0].mean())
        assert opened.split.statistics.std[band] == pytest.approx(values[values > 0].std(), rel=1e-6)
    counts = np.bincount(store.patches["label"][train], minlength=3)
    assert opened.split.class_counts == counts.tolist()
    assert (opened.split.seed % 1000, opened.split.block_m) == (3, 960.0)
    assert opened.split.parts_sha256 == sha256_of(done / "split" / "parts.parquet")
    for part in ("validation", "test"):
        assert store.patches["on_grid"][opened.rows(part)].all()


def test_the_audit_agrees_with_the_parts(store, done, capsys):
    capsys.readouterr()
    parts = SplitFolder.open(done / "split", store).columns["part"]
    audit = json.loads((done / "reports" / "audit.json").read_text())
    assert audit["shared_ground_m2"] == 0
    assert audit["patches"] == {p: int((parts == p).sum()) for p in audit["patches"]}
    assert sum(audit["patches"].values()) == len(store)
    assert min(audit["patches"].values()) > 0


def test_what_was_done_is_printed(store, tmp_path, capsys):
    run(store, tmp_path, CONF)
    printed = capsys.readouterr().out
    assert "ground shared by parts: 0 m2" in printed
    assert "class3" in printed


def test_the_same_input_gives_the_same_bytes_later_and_elsewhere(store, done, tmp_path):
    time.sleep(1.1)
    again = run(store, tmp_path, CONF)
    files = sorted(file.relative_to(done) for file in done.rglob("*") if file.is_file())
    assert [file.name for file in files] == [
        "audit.json",
        "blocks.gpkg",
        "parts.parquet",
        "patches.gpkg",
        "split.json",
        "split.yaml",
    ]
    for file in files:
        assert (again / file).read_bytes() == (done / file).read_bytes(), file
        assert str(tmp_path).encode() not in (again / file).read_bytes()


def test_the_seed_that_was_used_gives_the_split_again(tmp_path):
    small = make_store(tmp_path / "patches", make_table(24, 24, 3, field=8))
    (tmp_path / "a").mkdir()
    first = run(small, tmp_path / "a", "seed: 0\nblock_m: 640\nfolds: null\n")
    used = SplitFolder.open(first / "split", small).split.seed
    assert used != 0
    (tmp_path / "b").mkdir()
    second = run(small, tmp_path / "b", f"seed: {used}\nblock_m: 640\nfolds: null\n")
    for name in ("parts.parquet", "split.json", "patches.gpkg"):
        assert (first / "split" / name).read_bytes() == (second / "split" / name).read_bytes()


@pytest.fixture(scope="module")
def folded(store, tmp_path_factory):
    return run(store, tmp_path_factory.mktemp("folds"), FOLDS)


def test_folds_are_recorded_with_the_statistics_of_everything(store, folded):
    opened = SplitFolder.open(folded / "split", store)
    assert (opened.split.folds, opened.split.seed % 1000) == (3, 3)
    assert opened.rows("train").tolist() == list(range(len(store)))
    assert opened.split.statistics == store.statistics(np.arange(len(store)))
    assert opened.tested.tolist() == np.flatnonzero(store.patches["on_grid"]).tolist()
    for fold in range(3):
        assert len(opened.rows("unused", fold)) > 0
        assert len(opened.rows("validation", fold)) == 0


def test_the_audit_of_folds_agrees_with_them(store, folded):
    opened = SplitFolder.open(folded / "split", store)
    audit = json.loads((folded / "reports" / "audit.json").read_text())
    assert audit["shared_ground_m2"] == 0
    assert audit["smallest_distance_m"]["train_test"] > 0
    names = ["fold 1", "fold 2", "fold 3"]
    tested = {name: opened.rows("test", fold) for fold, name in enumerate(names)}
    assert audit["patches"] == {name: len(rows) for name, rows in tested.items()}
    assert audit["training_patches"] == {
        name: len(opened.rows("train", fold)) for fold, name in enumerate(names)
    }
    labels = store.patches["label"]
    counts = np.stack([np.bincount(labels[rows], minlength=3) for rows in tested.values()])
    assert audit["largest_share"] == pytest.approx((counts / counts.sum(axis=0)).max(), abs=1e-4)
    assert audit["classes"]["class2"] == dict(zip(names, counts[:, 1].tolist(), strict=True))


def test_layers_of_folds_name_the_fold_that_tests_a_cell(store, folded):
    opened = SplitFolder.open(folded / "split", store)
    patches = gpd.read_file(folded / "split" / "patches.gpkg", layer="patches")
    blocks = gpd.read_file(folded / "split" / "blocks.gpkg", layer="blocks")
    off_grid = ~store.patches["on_grid"]
    assert (patches["part"][off_grid] == "train").all()
    for fold in range(3):
        rows = np.flatnonzero(patches["part"] == f"fold {fold + 1}")
        assert rows.tolist() == opened.rows("test", fold).tolist()
    own = blocks.set_index("block")["part"][patches["block"]].to_numpy()
    assert (own[~off_grid] == patches["part"][~off_grid]).all()
    assert list(blocks.columns) == ["block", "part", "patches", "geometry"]


def test_layers_hold_every_patch_and_block(store, done):
    patches = gpd.read_file(done / "split" / "patches.gpkg", layer="patches")
    table = store.patches
    assert patches["part"].tolist() == SplitFolder.open(done / "split", store).columns["part"].tolist()
    assert patches["scene"].tolist() == table["scene"].tolist()
    titles = [info.title for info in store.meta.classes]
    assert patches["class"].tolist() == [titles[label] for label in table["label"]]
    centers = patches.geometry.centroid
    np.testing.assert_allclose(centers.x, table["x"])
    np.testing.assert_allclose(centers.y, table["y"])
    assert patches.geometry.area.unique().tolist() == [6400.0]  # cells, not windows
    assert patches.crs.to_epsg() == 32633
    blocks = gpd.read_file(done / "split" / "blocks.gpkg", layer="blocks")
    inside = blocks.set_index("block").geometry[patches["block"]]
    assert inside.covers(centers.set_axis(inside.index)).all()
    assert blocks["patches"].sum() == len(store)
    for part in ("train", "validation", "test", "unused"):
        assert blocks[part].sum() == (patches["part"] == part).sum()
    assert (blocks.geometry.bounds % 960 == 0).all(axis=None)
    assert (blocks.geometry.area == 960**2).all()


@pytest.mark.slow
def test_qgis_colours_blocks_and_patches_by_part(done, folded, tmp_path):
    names = ("blocks.gpkg", "patches.gpkg")
    files = [folder / "split" / name for folder in (done, folded) for name in names]
    before = [file.read_bytes() for file in files]
    seen = open_layers_in_qgis(files, tmp_path)
    blocks, patches, *of_folds = (seen[str(file)] for file in files)
    for layer in (blocks, patches, *of_folds):
        assert layer["column"] == "part"
        assert layer["crs"] == "EPSG:32633"
        assert len(layer["colors"]) >= 3
        assert layer["files_after"] == ["blocks.gpkg", "parts.parquet", "patches.gpkg", "split.json"]
    entries = [[part, part, color] for part, color in split.COLORS.items()]
    assert patches["categories"] == entries
    assert blocks["categories"] == entries[:3]
    folds = [[f"fold {n}", f"fold {n}", split.FOLD_COLORS[n - 1]] for n in (1, 2, 3)]
    assert [layer["categories"] for layer in of_folds] == [
        folds,
        [*folds, ["train", "train", split.COLORS["unused"]]],
    ]
    assert [file.read_bytes() for file in files] == before


def test_two_zones_are_one_layer_in_degrees(tmp_path):
    zones = [make_table(30, 30, 3, epsg=e, scene=f"s{e}", field=3) for e in (32632, 32633)]
    store = make_store(tmp_path / "patches", join(*zones))
    folder = run(store, tmp_path, CONF)
    for name in ("blocks", "patches"):
        layer = gpd.read_file(folder / "split" / f"{name}.gpkg", layer=name)
        assert layer.crs.to_epsg() == 4326
        west, _, east, _ = layer.total_bounds
        assert 6 < west < 7
        assert 12 < east < 13


def test_a_class_without_training_patches_leaves_the_split_before_in_place(store, tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "kept").touch()
    with pytest.raises(SplitError, match="Class 'class1' lies in 1 block of 100000 m"):
        run(store, tmp_path, "block_m: 100000\nfolds: null\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["split", "split.yaml"]
    assert [p.name for p in (tmp_path / "split").iterdir()] == ["kept"]


@pytest.mark.parametrize("conf", [CONF, FOLDS])
def test_parts_that_share_ground_are_never_published(store, tmp_path, monkeypatch, conf):
    monkeypatch.setattr("pipeline.geo.split.blocks.Ground.overlaps", lambda *masks: masks[1] & False)
    with pytest.raises(SplitError, match=r"share .* m2 of ground, which is a fault of lenscape"):
        run(store, tmp_path, conf)
    assert [p.name for p in tmp_path.iterdir()] == ["split.yaml"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("block: 960\n", ConfigError, "key 'block' is unknown"),
        ("fold: 1\n", ConfigError, "key 'fold' is unknown"),
        ("folds: 1\n", ConfigError, "key 'folds'"),
        ("folds: null\nvalidation: 0.5\ntest: 0.5\n", ConfigError, "nothing is left to train on"),
    ],
)
def test_a_wrong_conf_is_named(store, tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        run(store, tmp_path, text)


def test_a_full_disk_leaves_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.files.free_bytes", lambda _: 1000)
    with pytest.raises(OutputError, match=r"the split at .* needs .* GB"):
        run(store, tmp_path, CONF)
    assert [p.name for p in tmp_path.iterdir()] == ["split.yaml"]


@pytest.mark.slow
def test_a_missing_store_is_one_sentence_and_exit_code_2(tmp_path):
    (tmp_path / "split.yaml").write_text(CONF)
    command = [sys.executable, "-m", "pipeline.cli", "split", "--conf", "split.yaml"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr == "lenscape: data/patches/meta.json does not exist; run `tile` first.\n"
    with pytest.raises(StoreError):
        split.run(tmp_path / "split.yaml", tmp_path, tmp_path / "out", tmp_path / "audit.json")


def test_the_command_takes_its_paths(store, tmp_path):
    (tmp_path / "c.yaml").write_text(CONF)
    words = ["split", "--conf", tmp_path / "c.yaml", "--store", store.folder]
    words += ["--out", tmp_path / "o", "--audit", tmp_path / "a.json"]
    answer = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    assert answer.exit_code == 0
    assert (tmp_path / "o" / "split.json").exists()
    assert (tmp_path / "a.json").exists()


@pytest.mark.slow
def test_splitting_imports_no_torch():
    code = (
        "import sys, pipeline.stages.split; print({'torch', 'mlflow', 'rasterio'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
