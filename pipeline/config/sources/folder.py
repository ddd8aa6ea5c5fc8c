"""A scene as a folder of one file per band."""

from __future__ import annotations

from pipeline.config.sources.stated import StatedConf


class SceneConf(StatedConf):
    """One scene: where its pixels lie and what its metadata do not say."""

    path: str
    """A folder of one file per band, each named after its band (`..._B02.jp2`, `B8A.tif`)."""
