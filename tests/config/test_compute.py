from __future__ import annotations

import pytest

from pipeline.config.compute import SCHEDULER, ComputeConf, load_compute
from pipeline.errors import ConfigError

LAUNCHERS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "RANK", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*LAUNCHERS, SCHEDULER):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", LAUNCHERS[:-1])
def test_one_of_several_copies_of_a_command_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "0")
    assert load_compute(None) == ComputeConf()
    monkeypatch.setenv(name, "2")
    with pytest.raises(
        ConfigError, match=rf"started this command several times \({name}=2\); start it"
    ):
        load_compute(None)
    monkeypatch.setenv("LOCAL_RANK", "2")  # Lightning has started it, for another device
    assert load_compute(None) == ComputeConf()


def test_one_device_keeps_the_rest():
    conf = ComputeConf(accelerator="cpu", devices=4, workers=3)
    assert conf.on_one_device() == ComputeConf(accelerator="cpu", devices=1, workers=3)


def test_a_scheduler_of_the_conf_comes_before_one_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(SCHEDULER, "tcp://10.0.0.7:8786")
    assert load_compute(None).scheduler == "tcp://10.0.0.7:8786"
    conf = tmp_path / "compute.yaml"
    conf.write_text("memory_mb: 256\n")
    assert load_compute(conf) == ComputeConf(memory_mb=256, scheduler="tcp://10.0.0.7:8786")
    conf.write_text("scheduler: tcp://127.0.0.1:8786\n")
    assert load_compute(conf).scheduler == "tcp://127.0.0.1:8786"
