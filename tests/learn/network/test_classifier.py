from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from pipeline.errors import MismatchError, StoreError
from pipeline.files import sha256_of
from pipeline.learn.network.classifier import (
    META,
    WEIGHTS,
    PatchClassifier,
    require_bands,
)
from pipeline.learn.stats.calibration import Calibration
from tests.support.learners import BANDS, model_meta
from tests.support.stores import make_store


def classifier(seed=0, **meta):
    torch.manual_seed(seed)
    return PatchClassifier(model_meta(**meta)).eval()


def raw(count=5, bands=3, side=16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 3000, (count, bands, side, side))
    return torch.from_numpy(pixels.astype(np.uint16))


def test_raw_pixels_of_either_type_give_the_same_logits():
    model = classifier()
    with torch.inference_mode():
        assert torch.equal(model(raw()), model(raw().float()))
        assert model(raw()).shape == (5, 4)


def test_normalisation_and_nodata_are_handled_inside():
    model = classifier()
    pixels = raw()
    pixels[:, 1, 3:6, 4:9] = 0
    assert model.fill_dn.tolist() == [900, 1000, 1100]  # the means are 900.25, 1000.25, 1100.25
    filled = pixels.float()
    for band, dn in enumerate((900, 1000, 1100)):
        filled[:, band][filled[:, band] == 0] = dn
    mean = torch.tensor([900.25, 1000.25, 1100.25])[:, None, None]
    std = torch.tensor([300.0, 310.0, 320.0])[:, None, None]
    with torch.inference_mode():
        assert torch.equal(model(pixels), model.network((filled - mean) / std))
        assert not torch.equal(model(pixels), model.network((pixels.float() - mean) / std))


@pytest.mark.parametrize("network", ["modern", "lenet5"])
@pytest.mark.parametrize("bands", [1, 5, 13])
def test_a_model_of_any_bands_loads_as_it_was_saved(tmp_path, network, bands):
    model = classifier(network=network, bands=bands)
    meta = model.save(tmp_path)
    loaded = PatchClassifier.load(tmp_path)
    assert loaded.meta == meta
    assert not loaded.training
    assert meta.weights_sha256 == sha256_of(tmp_path / WEIGHTS)
    with torch.inference_mode():
        assert torch.equal(loaded(raw(bands=bands)), model(raw(bands=bands)))


def test_the_same_weights_are_the_same_bytes(tmp_path):
    first, second, other = (
        classifier(seed).save(tmp_path / str(i)) for i, seed in enumerate((0, 0, 1))
    )
    assert first.weights_sha256 == second.weights_sha256 != other.weights_sha256
    assert (tmp_path / "0" / META).read_bytes() == (tmp_path / "1" / META).read_bytes()


def test_the_hash_of_the_weights_covers_the_normalisation(tmp_path):
    meta = model_meta()
    shifted = meta.statistics.model_copy(update={"mean": [1.0, 2.0, 3.0]})
    torch.manual_seed(0)
    first = PatchClassifier(meta).save(tmp_path / "a")
    torch.manual_seed(0)
    second = PatchClassifier(meta.model_copy(update={"statistics": shifted})).save(tmp_path / "b")
    assert first.weights_sha256 != second.weights_sha256


CALIBRATIONS = [
    Calibration(1.7),
    Calibration(1.7, 1.0, -0.9),
    Calibration(1.0, 0.6, 0.8),
    Calibration(1.0, 1.0, -12.0),  # of no class more would be left than of the next
]


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_calibrated_network_gives_calibrated_logits_and_the_same_classes(
    tmp_path, calibration, classes
):
    model = classifier(classes=classes)
    with torch.inference_mode():
        before = model(raw(200)).numpy()
        model.apply_calibration(calibration)
        after = model(raw(200)).numpy()
        assert after == pytest.approx(calibration.logits(before), abs=1e-5)
        assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
        assert classes == 1 or np.abs(after - before).max() > 0.05
        assert model.uncalibrated()(raw(200)).numpy() == pytest.approx(before, abs=1e-6)
        assert model.uncalibrated().meta.calibrated_by == Calibration()
        assert model.meta.calibrated_by == calibration
        model.save(tmp_path)
        loaded = PatchClassifier.load(tmp_path)
        assert (loaded(raw(200)).numpy() == after).all()
    assert loaded.meta.calibrated_by == calibration


@pytest.mark.parametrize(("key", "value"), [("slope", 2.0), ("bias", 0.5)])
def test_a_calibration_that_is_not_that_of_the_weights_is_refused(tmp_path, key, value):
    model = classifier()
    model.apply_calibration(Calibration(1.0, 0.6, 0.8))
    model.save(tmp_path)
    change(tmp_path / META, key, value)
    with pytest.raises(StoreError, match=r"slope and bias in model\.json are not those of the weights"):
        PatchClassifier.load(tmp_path)


def test_a_model_from_before_slope_and_bias_loads(tmp_path):
    model = classifier()
    model.save(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / WEIGHTS)
    del weights["calibration"]
    (tmp_path / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    record = json.loads((tmp_path / META).read_text())
    for key in ("slope", "bias", "kept_epoch", "held_out_sha256"):
        del record[key]
    record["weights_sha256"] = sha256_of(tmp_path / WEIGHTS)
    (tmp_path / META).write_text(json.dumps(record))
    with torch.inference_mode():
        assert torch.equal(PatchClassifier.load(tmp_path)(raw()), model(raw()))


@pytest.mark.parametrize("missing", [WEIGHTS, META])
def test_a_missing_file_is_named(tmp_path, missing):
    classifier().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StoreError, match=f"{missing} does not exist; run `train` first"):
        PatchClassifier.load(tmp_path)


def test_truncated_weights_are_refused(tmp_path):
    classifier().save(tmp_path)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MismatchError, match=r"weights\.safetensors has the hash .* damaged"):
        PatchClassifier.load(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    classifier(0).save(tmp_path / "a")
    classifier(1).save(tmp_path / "b")
    (tmp_path / "b" / WEIGHTS).replace(tmp_path / "a" / WEIGHTS)
    with pytest.raises(MismatchError, match="two models"):
        PatchClassifier.load(tmp_path / "a")


@pytest.mark.parametrize("content", [b"no tensors at all", None])
def test_weights_that_are_not_those_of_the_network_are_refused(tmp_path, content):
    classifier().save(tmp_path)
    if content is None:
        classifier(network="lenet5").save(tmp_path / "other")
        content = (tmp_path / "other" / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content)
    change(tmp_path / META, "weights_sha256", sha256_of(tmp_path / WEIGHTS))
    with pytest.raises(StoreError, match="does not hold the weights of the network"):
        PatchClassifier.load(tmp_path)


def change(path, key, value):
    record = json.loads(path.read_text())
    record[key] = value
    path.write_text(json.dumps(record))


def test_metadata_of_another_format_are_refused(tmp_path):
    classifier().save(tmp_path)
    change(tmp_path / META, "format", 99)
    with pytest.raises(StoreError, match=r"model\.json has format 99, this lenscape reads 1"):
        PatchClassifier.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("bands", [], "bands and statistics are not of one length"),
        ("statistics", {"mean": [1.0], "std": [1.0]}, "bands and statistics are not of one length"),
        ("class_weights", [1.0], "classes and class_weights are not of one length"),
        ("region", [12.0, 52.0], "key 'region'"),
        ("temperature", 0, "key 'temperature'"),
    ],
)
def test_metadata_that_do_not_agree_are_refused(tmp_path, key, value, says):
    classifier().save(tmp_path)
    change(tmp_path / META, key, value)
    with pytest.raises(StoreError, match=rf"is broken \(.*{says}.*run `train` again"):
        PatchClassifier.load(tmp_path)


def test_broken_metadata_are_refused_with_the_key(tmp_path):
    classifier().save(tmp_path)
    change(tmp_path / META, "bands", "B02")
    with pytest.raises(StoreError, match=r"is broken \(key 'bands': .*; run `train` again"):
        PatchClassifier.load(tmp_path)
    (tmp_path / META).write_text("{")
    with pytest.raises(StoreError, match="is broken"):
        PatchClassifier.load(tmp_path)


def test_bands_are_found_where_they_stand():
    assert require_bands(["B04", "B02"], ["B01", "B02", "B03", "B04"], "the store") == [3, 1]


def test_a_store_of_other_bands_is_refused_with_the_bands_of_both(tmp_path):
    store = make_store(tmp_path / "store", count=20, bands=BANDS[:2], cell_px=4)
    with pytest.raises(MismatchError, match=r"bands B01, B02, B03, but S has B01, B02: B03 missing"):
        classifier(classes=3, cell_px=4).require_matches(store.meta, "S")


def test_a_store_of_other_geometry_or_classes_is_refused(tmp_path):
    meta = make_store(tmp_path / "store", count=20, bands=BANDS[:3], classes=4, cell_px=4).meta
    with pytest.raises(
        MismatchError, match=r"patch_px 16, cell_px 8, .* but S has patch_px 16, cell_px 4"
    ):
        classifier().require_matches(meta, "S")
    with pytest.raises(
        MismatchError, match="classes c0, c1, c2, but S has class1, class2, class3, class4"
    ):
        classifier(classes=3, cell_px=4).require_matches(meta, "S")
    ours = classifier(cell_px=4)
    ours.meta = ours.meta.model_copy(update={"classes": meta.classes, "bands": ["B03", "B01"]})
    assert ours.require_matches(meta, "S") == [2, 0]


@pytest.mark.parametrize("network", ["modern", "lenet5"])
def test_export_takes_raw_patches_in_any_number(network):
    model = torch.nn.Sequential(classifier(network=network, bands=13), torch.nn.Softmax(dim=1)).eval()
    pixels = raw(6, bands=13)
    exported = torch.export.export(
        model, (pixels,), dynamic_shapes=({0: torch.export.Dim("patches")},)
    ).module()
    with torch.inference_mode():
        for count in (1, 2, 6):
            torch.testing.assert_close(exported(pixels[:count]), model(pixels[:count]))
