"""Scenes that patches are cut from."""

import pytest

from pipeline.geo.scenes.scene import Scene
from tests.support.placed import NODATA, make_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def with_nodata(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("with_nodata"), NODATA)
