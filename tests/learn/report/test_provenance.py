from __future__ import annotations

import pytest

from pipeline.config.train import TrainConf
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.report.provenance import flattened, parameters, part_digest, run_name, tags
from tests.support.stores import join, make_split, make_store, make_table


@pytest.fixture
def split_data(tmp_path):
    """Training data of a small store and its split."""
    store = make_store(tmp_path / "patches", count=100)
    split = make_split(tmp_path / "split", store)
    return TrainingData.of_split(store, split, ("B04", "B08")), split


@pytest.mark.parametrize(
    ("conf", "bands", "scenes", "expected"),
    [
        ({}, ["B02"] * 13, ["a"], "modern, 13 bands, a"),
        ({"bands": "rgb", "network": "lenet5"}, ["B04", "B03", "B02"], ["a", "b"], "lenet5, rgb, a, b"),
        ({"bands": ["B08"]}, ["B08"], ["a", "b", "c", "d"], "modern, 1 band, a, b and 2 more"),
    ],
)
def test_a_run_is_named_after_preset_bands_and_scenes(conf, bands, scenes, expected, monkeypatch):
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    settings = TrainConf.model_validate(conf)
    assert run_name(settings, bands, scenes) == expected
    monkeypatch.setenv("DVC_EXP_NAME", "pale-hen")
    assert run_name(settings, bands, scenes) == f"{expected} (pale-hen)"


def test_parameters_are_all_that_was_set(split_data):
    data, split = split_data
    found = parameters(data, split, TrainConf(lr=0.01))
    assert found["train.lr"] == "0.01"
    assert found["train.augment.flips"] == "True"
    assert found["train.network.convolutions.1.kernel"] == "3"
    assert found["train.input_bands"] == "B04, B08"
    assert found["tile.patch_px"] == "16"
    assert found["tile.min_purity"] == "0.6"
    assert found["tile.bands"] == "B02, B03, B04, B08"
    assert found["split.seed"] == "0"
    assert {key.split(".")[1] for key in found if key.startswith("train.")} >= set(
        TrainConf.model_fields
    )


def test_tags_tell_inputs_apart(split_data, monkeypatch):
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    data, split = split_data
    found = tags(data, split, TrainConf())
    assert found["store_sha256"] == data.store.sha256
    assert found["split_sha256"] == split.sha256
    assert found["bands"] == "B04, B08"
    assert "dvc.experiment" not in found
    assert tags(data, split, TrainConf(lr=0.5))["conf_sha256"] != found["conf_sha256"]
    monkeypatch.setenv("DVC_EXP_NAME", "pale-hen")
    assert tags(data, split, TrainConf())["dvc.experiment"] == "pale-hen"


def test_digests_of_parts_follow_the_data(split_data, tmp_path):
    data, split = split_data
    digests = {part: part_digest(data, split, part) for part in ("train", "validation", "test")}
    assert len(set(digests.values())) == 3
    assert all(len(digest) <= 36 for digest in digests.values())  # MLflow's limit
    other = make_store(tmp_path / "other", join(make_table(10, 10, seed=3)))
    again = TrainingData.of_split(other, make_split(tmp_path / "again", other), ("B04",))
    assert part_digest(again, split, "train") != digests["train"]


def test_flattening_names_each_leaf():
    conf = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": [{"f": True}, {"f": False}], "g": []}
    assert flattened("x", conf) == {
        "x.a": "1",
        "x.b.c": "1, 2",
        "x.b.d": "None",
        "x.e.1.f": "True",
        "x.e.2.f": "False",
        "x.g": "",
    }
