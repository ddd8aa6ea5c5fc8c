"""Opens rasters in real QGIS as a person would, and prints what QGIS shows, as JSON.

Run by the system's Python, which knows QGIS: /usr/bin/python3 qgis_probe.py PNG_FOLDER RASTER...
Per raster: CRS, extent, renderer, names of bands, legend, labels of the layer tree, statistics,
histogram, category names, and a rendered picture `<name>.png` in the folder. Everything that makes
GDAL write beside a raster is asked for: exact and estimated statistics, histograms with and without
limits.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsLayerTreeModel,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterBandStats,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

SIZE = 600


def look(path, folder):
    layer = QgsRasterLayer(path, Path(path).name)
    assert layer.isValid(), path
    provider = layer.dataProvider()
    extent = layer.extent()
    seen = {
        "crs": layer.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "renderer": layer.renderer().type(),
        "bands": [layer.bandName(number) for number in range(1, layer.bandCount() + 1)],
        "legend": [[i[0], i[1].name()] for i in layer.renderer().legendSymbologyItems()],
        "tree": tree(layer),
        "png": render(layer, folder),
    }
    exact = provider.bandStatistics(1, QgsRasterBandStats.All)
    provider.bandStatistics(1, QgsRasterBandStats.All, extent, 1000)
    seen["statistics"] = [exact.minimumValue, exact.maximumValue, exact.mean, exact.stdDev]
    seen["histogram"] = list(provider.histogram(1).histogramVector)
    for bins in (10, 256):
        provider.histogram(1, bins, 0, 255, extent, 0)
        provider.histogram(1, bins, 0, 100, extent, 1000)
    provider.initHistogram(provider.histogram(1), 1, 0)
    return seen


def tree(layer):
    """The lines of the layer panel below the layer's name."""
    project = QgsProject.instance()
    project.addMapLayer(layer)
    model = QgsLayerTreeModel(project.layerTreeRoot())
    nodes = model.layerLegendNodes(project.layerTreeRoot().findLayer(layer.id()))
    lines = [node.data(0) for node in nodes]
    return [line for line in lines if isinstance(line, str)]


def render(layer, folder):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(SIZE, SIZE))
    settings.setBackgroundColor(QColor(255, 255, 255, 0))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    png = str(Path(folder) / f"{Path(layer.source()).name}.png")
    assert job.renderedImage().save(png)
    return png


def categories(path):
    """Category names after the viewers' files were written; GDAL loads them with the transform."""
    dataset = gdal.Open(path)
    dataset.GetGeoTransform()
    band = dataset.GetRasterBand(1)
    band.GetHistogram(0, 100, 7, 0, 0)  # not known yet: GDAL writes it down
    names = band.GetCategoryNames()
    table = band.GetColorTable()
    colors = [table.GetColorEntry(i) for i in range(len(names or []))] if table else []
    del band, table
    del dataset
    return names, colors


def main(folder, *paths):
    application = QgsApplication([], False)
    application.initQgis()
    result = {}
    for path in paths:
        result[path] = look(path, folder)
    QgsProject.instance().removeAllMapLayers()  # closes the files, which writes what is pending
    written = sorted({file.name for path in paths for file in Path(path).parent.iterdir()})
    for path in paths:
        result[path]["categories"], result[path]["colors"] = categories(path)
    for path in paths:
        assert categories(path)[0] == result[path]["categories"], "names lost in the viewer's file"
    result["files"] = written
    print(json.dumps(result))
    application.exitQgis()


if __name__ == "__main__":
    main(*sys.argv[1:])
