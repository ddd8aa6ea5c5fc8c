from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands.describe import run
from pipeline.errors import ConfigError, NetworkError
from tests.support.stores import make_store


def test_a_preset_by_numbers(tmp_path, capsys):
    run(tmp_path / "none.yaml", "lenet5", None, bands=1, patch=32, classes=10)
    out = capsys.readouterr().out
    assert "network lenet5 on patches of 1 x 32 x 32 (bands, px), 10 classes" in out
    assert "61,706" in out


def test_the_network_of_a_conf_on_a_store(tmp_path, capsys):
    conf = tmp_path / "train.yaml"
    conf.write_text("bands: rgb\nnetwork: {convolutions: [{filters: 5, kernel: 7}]}\n")
    make_store(tmp_path / "store", classes=4, patch_px=12)
    run(conf, None, tmp_path / "store")
    out = capsys.readouterr().out
    assert "network own on patches of 3 x 12 x 12 (bands, px), 4 classes" in out
    assert "5 of 7 x 7, relu" in out
    assert "6 x 6 x 5" in out
    run(conf, None, tmp_path / "store", bands=1)
    assert "own on patches of 1 x 12 x 12" in capsys.readouterr().out


@pytest.mark.parametrize(("bands", "count"), [("all", 13), ("rgb", 3), ("10m", 4), ("[B01, B8A]", 2)])
def test_bands_of_a_conf_without_a_store(tmp_path, capsys, bands, count):
    conf = tmp_path / "train.yaml"
    conf.write_text(f"bands: {bands}\n")
    run(conf)
    assert f"network modern on patches of {count} x 16 x 16" in capsys.readouterr().out


def test_what_cannot_be_described_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--network 'resnet' is unknown; choose from lenet5, modern"):
        run(tmp_path / "train.yaml", "resnet")
    with pytest.raises(ConfigError, match=r"train\.yaml does not exist"):
        run(tmp_path / "train.yaml")
    with pytest.raises(NetworkError, match=r"convolution 2 .* at least 16 \(it is 8\)"):
        run(tmp_path / "train.yaml", "lenet5", None, patch=8)


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "data" / "patches", classes=5)
    words = ["describe", "--network", "lenet5", "--patch", "20"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "lenet5 on patches of 4 x 20 x 20 (bands, px), 5 classes" in result.output


@pytest.mark.slow
def test_describe_imports_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipeline.commands.describe import run;"
        "run(Path('none.yaml'), 'lenet5'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
