"""The split of a store on disk: read back, and refused where it does not fit."""

import json
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StoreError
from pipeline.files import sha256_of, write_json
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore
from tests.support.stores import make_folds, make_split, make_store


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    return make_store(tmp_path / "store", count=50, nodata=0.1)


def test_a_split_gives_the_rows_of_its_parts(store: PatchStore, tmp_path: Path) -> None:
    parts = ["train", "test", "unused", "train", "validation"] * 10
    split = make_split(tmp_path / "split", store, parts)
    assert split.rows("train").tolist() == [row for row in range(50) if row % 5 in (0, 3)]
    assert split.rows("unused").tolist() == list(range(2, 50, 5))
    assert split.columns["part"].tolist() == parts
    assert split.sha256 == SplitFolder.open(tmp_path / "split", store).sha256


def test_a_split_into_folds_gives_the_rows_of_each(store: PatchStore, tmp_path: Path) -> None:
    split = make_folds(tmp_path / "split", store, 2)
    rows = range(50)
    assert split.rows("train").tolist() == list(rows)
    for fold in (0, 1):
        own = [row for row in rows if row % 2 == fold]
        assert split.rows("test", fold).tolist() == [row for row in own if row % 10 != 9]
        others = [row for row in rows if row % 2 != fold and row % 10 != 2]
        assert split.rows("train", fold).tolist() == others
    assert split.tested.tolist() == [row for row in rows if row % 10 != 9]
    parts = make_split(tmp_path / "parts", store)
    assert parts.tested.tolist() == parts.rows("test").tolist()


def test_a_split_whose_folds_are_not_in_its_table(store: PatchStore, tmp_path: Path) -> None:
    make_folds(tmp_path / "split", store, 2)
    path = tmp_path / "split" / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"folds": 3}))
    with pytest.raises(StoreError, match=r"parts\.parquet is broken .*; run `split` again"):
        SplitFolder.open(tmp_path / "split", store)


def test_a_split_of_another_store(store: PatchStore, tmp_path: Path) -> None:
    make_split(tmp_path / "split", store)
    other = make_store(tmp_path / "other", count=50, seed=1)
    with pytest.raises(StoreError, match=r"splits another store than .*other; run `split` again"):
        SplitFolder.open(tmp_path / "split", other)


@pytest.mark.parametrize("file", ["split.json", "parts.parquet"])
def test_a_split_without_a_file(store: PatchStore, tmp_path: Path, file: str) -> None:
    make_split(tmp_path / "split", store)
    (tmp_path / "split" / file).unlink()
    with pytest.raises(StoreError, match=rf"{file} does not exist; run `split` first"):
        SplitFolder.open(tmp_path / "split", store).rows("train")


def test_parts_that_changed_since(store: PatchStore, tmp_path: Path) -> None:
    split = make_split(tmp_path / "split", store)
    other = pa.table({"part": split.columns["part"][::-1].tolist()})
    pq.write_table(other, tmp_path / "split" / "parts.parquet")
    with pytest.raises(
        StoreError, match=r"parts\.parquet is broken: it has changed since `split` wrote"
    ):
        SplitFolder.open(tmp_path / "split", store)


def test_parts_are_text_whatever_wrote_them(store: PatchStore, tmp_path: Path) -> None:
    split = make_split(tmp_path / "split", store)
    coded = pa.table({"part": pa.array(split.columns["part"].tolist()).dictionary_encode()})
    path = tmp_path / "split" / "parts.parquet"
    pq.write_table(coded, path)
    stated = split.split.model_copy(update={"parts_sha256": sha256_of(path)})
    write_json(tmp_path / "split" / "split.json", stated.model_dump(mode="json"))
    again = SplitFolder.open(tmp_path / "split", store)
    assert again.rows("train").tolist() == split.rows("train").tolist()


@pytest.mark.parametrize("parts", [["train"] * 49, ["train"] * 49 + ["val"], [None] * 50, [1.5] * 50])
def test_parts_that_are_none(store: PatchStore, tmp_path: Path, parts: list[object]) -> None:
    make_split(tmp_path / "split", store)
    path = tmp_path / "split" / "parts.parquet"
    pq.write_table(pa.table({"part": parts}), path)
    split = json.loads((tmp_path / "split" / "split.json").read_text())
    split["parts_sha256"] = sha256_of(path)
    (tmp_path / "split" / "split.json").write_text(json.dumps(split))
    with pytest.raises(StoreError, match=r"parts\.parquet is broken \(.*does not name a part for each"):
        SplitFolder.open(tmp_path / "split", store)


def test_a_table_of_parts_that_arrow_cannot_read(store: PatchStore, tmp_path: Path) -> None:
    make_split(tmp_path / "split", store)
    path = tmp_path / "split" / "parts.parquet"
    content = bytearray(path.read_bytes())
    for at in range(4, len(content) - 8):  # each byte of it once, but for its marks
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        with suppress(StoreError):
            SplitFolder.open(tmp_path / "split", store)


@pytest.mark.parametrize(
    ("key", "value"),
    [("class_counts", [1]), ("statistics", {"mean": [1.0], "std": [1.0]})],
)
def test_a_split_of_other_bands_or_classes(
    store: PatchStore, tmp_path: Path, key: str, value: object
) -> None:
    make_split(tmp_path / "split", store)
    path = tmp_path / "split" / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError, match=r"split\.json is broken \(ValueError: its .* are of other"):
        SplitFolder.open(tmp_path / "split", store)
