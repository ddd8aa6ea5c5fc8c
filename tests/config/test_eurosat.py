"""What the conf of `fetch` says where EuroSAT stands in it."""

from __future__ import annotations

import pytest

from pipeline.config.fetch import FetchConf
from pipeline.config.reading import parse
from pipeline.config.split import SplitConf
from pipeline.errors import ConfigError

EUROSAT = {"eurosat": "data/own/scenes/eurosat"}
SCENE = {"id": "s1", "path": "a", "datetime": "2021-05-06T10:21:01Z", "scale": 1e-4, "offset": 0}


def test_it_is_trained_on_and_other_scenes_are_mapped() -> None:
    conf = parse({"train": [EUROSAT], "map": [SCENE]}, FetchConf, "fetch.yaml")
    assert conf.images is not None
    assert [scene.id for scene in conf.map_scenes] == ["s1"]
    assert parse({"train": [SCENE]}, FetchConf, "fetch.yaml").images is None


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"train": [EUROSAT]}, r"none of them a scene to map; write `map: \[\]`"),
        ({"train": [EUROSAT], "map": "train"}, r"none of them a scene to map; write `map: \[\]`"),
        ({"train": [SCENE], "map": [EUROSAT]}, r"none of them a scene to map; write `map: \[\]`"),
        ({"train": [EUROSAT, SCENE], "map": []}, "EuroSAT stands beside other entries"),
        ({"train": [EUROSAT, EUROSAT], "map": []}, "EuroSAT stands beside other entries"),
        (
            {"train": [EUROSAT | {"scale": 1.0}], "map": []},
            r"'train\[0\]\.scale' is unknown; .* eurosat",
        ),
        ({"train": [{"eurosat": ""}], "map": []}, r"key 'train\[0\]\.eurosat' is ''"),
    ],
)
def test_other_uses_are_refused(raw: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        parse(raw, FetchConf, "fetch.yaml")
    assert str(raised.value).startswith("fetch.yaml: ")


def test_lists_exclude_folds() -> None:
    with pytest.raises(ConfigError, match="lists and folds exclude each other"):
        parse({"lists": "official", "folds": 2}, SplitConf, "split.yaml")
    with pytest.raises(ConfigError, match="state `folds: null` with lists"):
        parse({"lists": "official"}, SplitConf, "split.yaml")
    assert parse({"lists": "official", "folds": None}, SplitConf, "split.yaml").folds is None
