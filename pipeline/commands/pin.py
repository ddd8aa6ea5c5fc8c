"""`lenscape pin`: name a model model in `predict.yaml`, fixed by the hash of its weights."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from pipeline.config.predict import PredictConf
from pipeline.config.reading import load
from pipeline.files import publish
from pipeline.learn.tracking.registry import find_version


def run(version: str, conf: Path) -> None:
    """Write the version and the hash of its weights into `conf`; its comments stay.

    Raises:
        ConfigError: when `conf` is wrong.
        TrackingError: when the registry has no such version.
    """
    load(conf, PredictConf)
    model = find_version(version)
    yaml = YAML()
    yaml.width = 200
    settings = yaml.load(conf.read_text(encoding="utf-8"))
    settings["model"] = {"uri": model.uri, "weights_sha256": model.weights_sha256}
    with publish(conf) as partial, partial.open("w", encoding="utf-8") as stream:
        yaml.dump(settings, stream)
    print(f"{conf}: model {model.uri}, weights {model.weights_sha256[:12]}; `dvc repro` maps with it.")
