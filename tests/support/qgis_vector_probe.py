"""Opens GeoPackages in real QGIS as a person would, and prints what QGIS shows, as JSON.

Run by the system's Python, which knows QGIS: /usr/bin/python3 qgis_vector_probe.py PNG_FOLDER FILE...
Per file, for its first layer: CRS, extent, number of features, column and categories of the style,
the texts of its labels, the colours seen in a rendered picture `<name>.png`, and the files that lie
beside it while it is open and after it was closed.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsExpression,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

SIZE = 400


def look(path, folder):
    layer = QgsVectorLayer(path, Path(path).name, "ogr")
    assert layer.isValid(), path
    QgsProject.instance().addMapLayer(layer)
    extent, renderer = layer.extent(), layer.renderer()
    assert renderer.type() == "categorizedSymbol", renderer.type()
    picture = render(layer)
    assert picture.save(str(Path(folder, Path(path).name + ".png")))
    for field in range(layer.fields().count()):
        layer.uniqueValues(field)
    return {
        "crs": layer.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "features": layer.featureCount(),
        "fields": [field.name() for field in layer.fields()],
        "column": renderer.classAttribute(),
        "categories": [
            [c.value(), c.label(), c.symbol().color().name()] for c in renderer.categories()
        ],
        "texts": texts(layer),
        "colors": colors(picture),
        "files": beside(path),
    }


def texts(layer):
    """What each feature is labelled with; none where labels are off."""
    if not layer.labelsEnabled():
        return []
    expression = QgsExpression(layer.labeling().settings().fieldName)
    context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
    found = []
    for feature in layer.getFeatures():
        context.setFeature(feature)
        found.append(expression.evaluate(context))
    return found


def beside(path):
    return sorted(file.name for file in Path(path).parent.iterdir())


def render(layer):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(SIZE, SIZE))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def colors(picture):
    """The colours of the picture, the most frequent first."""
    counts = {}
    for y in range(0, SIZE, 2):
        for x in range(0, SIZE, 2):
            name = picture.pixelColor(x, y).name()
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def main(folder, *paths):
    application = QgsApplication([], False)
    application.initQgis()
    result = {path: look(path, folder) for path in paths}
    QgsProject.instance().removeAllMapLayers()  # closes the files, which writes what is pending
    for path in paths:
        result[path]["files_after"] = beside(path)
    print(json.dumps(result))
    application.exitQgis()


if __name__ == "__main__":
    main(*sys.argv[1:])
