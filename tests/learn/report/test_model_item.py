from __future__ import annotations

import json

import pystac
import pytest
import shapely
from pystac.extensions.mlm import MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely.geometry import shape

from pipeline.learn.network.lenet import build
from pipeline.learn.report.model_item import onnx_item, weights_item
from tests.support.learners import model_meta

BOX = [12.4, 52.4, 12.7, 52.6]


@pytest.fixture
def meta():
    return model_meta().model_copy(update={"weights_sha256": "ab" * 32, "region": BOX})


def test_pystac_reads_what_the_model_takes_and_gives(meta):
    written = weights_item(meta, "./weights.safetensors")
    validator = JsonSchemaSTACValidator()  # of the core; schemas of extensions are not at hand offline
    assert validator.validate_core(written, pystac.STACObjectType.ITEM, "1.1.0") is not None
    item = pystac.Item.from_dict(written)
    found = MLMExtension.ext(item)
    assert found.framework == "PyTorch"
    assert found.architecture == "LeNet"
    weights = build(meta.network, 3, 16, 4).parameters()
    assert found.total_parameters == sum(tensor.numel() for tensor in weights)
    assert [model_input.bands for model_input in found.input] == [["B01", "B02", "B03"]]
    assert found.input[0].input.shape == [-1, 3, 16, 16]
    assert found.output[0].result.shape == [-1, 4]
    classes = found.output[0].properties["classification:classes"]
    assert [one["name"] for one in classes] == ["c0", "c1", "c2", "c3"]
    assert [one["value"] for one in classes] == [0, 1, 2, 3]
    assert item.bbox == BOX
    assert item.common_metadata.start_datetime.isoformat() == "2017-02-16T10:21:01+00:00"
    asset = item.assets["model"]
    assert asset.extra_fields["file:checksum"] == "1220" + "ab" * 32
    assert "mlm:model" in asset.roles


def test_the_onnx_file_takes_a_picture_of_any_size(meta):
    item = onnx_item(meta, "./m.onnx", "cd" * 32)
    assert item["properties"]["mlm:framework"] == "ONNX"
    assert item["properties"]["mlm:input"][0]["input"]["shape"] == [1, 3, -1, -1]
    assert item["assets"]["model"]["href"] == "./m.onnx"


def test_a_model_without_a_region_has_no_outline(meta):
    item = weights_item(meta.model_copy(update={"region": None}), "./w")
    assert item["geometry"] is None
    assert "bbox" not in item
    assert json.loads(json.dumps(item)) == item


def test_a_region_across_the_antimeridian_is_cut_there(meta):
    item = weights_item(meta.model_copy(update={"region": [179.5, -17.5, -179.25, -17.0]}), "./w")
    assert item["bbox"] == [179.5, -17.5, -179.25, -17.0]
    expected = [shapely.box(179.5, -17.5, 180, -17), shapely.box(-180, -17.5, -179.25, -17)]
    assert shape(item["geometry"]).equals(shapely.MultiPolygon(expected))
    assert all(part.exterior.is_ccw for part in shape(item["geometry"]).geoms)
