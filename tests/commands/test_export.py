from __future__ import annotations

import json

import onnxruntime
import pytest
import torch

from pipeline.commands import export
from pipeline.config.train import ConvolutionConf, NetworkConf
from pipeline.errors import NetworkError, StoreError
from pipeline.learn.inference.onnx_export import Agreement
from pipeline.learn.network.classifier import PatchClassifier
from tests.support.learners import model_meta


def saved(folder, network="modern"):
    torch.manual_seed(0)
    PatchClassifier(model_meta(network=network)).save(folder)
    return folder


def test_the_file_is_written_once_both_agree(tmp_path, capsys):
    path = tmp_path / "50% #1.onnx"
    export.run(saved(tmp_path / "models"), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["classes", "probabilities"]
    said = capsys.readouterr().out
    assert str(path) in said
    assert "1405 of 1405 pixels" in said
    item = json.loads(path.with_suffix(".json").read_text())
    assert {asset["href"] for asset in item["assets"].values()} == {"./50%25%20%231.onnx"}


def test_a_file_that_does_not_agree_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "agreement", lambda *_: Agreement(100, 90, 10, 0.3))
    with pytest.raises(NetworkError, match="10 of 100 pixels have another class"):
        export.run(saved(tmp_path / "models"), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_what_cannot_be_exported_is_refused(tmp_path):
    padded = NetworkConf(convolutions=[ConvolutionConf(filters=4, padding=1)])
    with pytest.raises(NetworkError, match="padding"):
        export.run(saved(tmp_path / "models", padded), tmp_path / "m.onnx")
    with pytest.raises(StoreError, match="run `train` first"):
        export.run(tmp_path / "nowhere", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
