"""Opens a project in real QGIS as a person would, and prints what QGIS shows, as JSON.

Run by the system's Python, which knows QGIS: /usr/bin/python3 qgis_project_probe.py PNG_FOLDER PROJECT
The groups and layers of the panel from the top, whether each is valid, ticked and what its legend
says, the CRS and the view, pictures of each layer `<layer id>.png` and of what is ticked `view.png`,
and what QGIS complained of.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsLayerTreeModel,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtXml import QDomDocument

WIDTH, HEIGHT = 900, 460


def main(folder, path):
    application = QgsApplication([], False)
    application.initQgis()
    project, seen, said = QgsProject.instance(), {}, []
    application.messageLog().messageReceived.connect(lambda text, *_: said.append(text))

    def view(document: QDomDocument) -> None:
        settings = QgsMapSettings()
        settings.readXml(document.elementsByTagName("mapcanvas").item(0))
        box = settings.extent()
        seen["view"] = [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]
        seen["view_crs"] = settings.destinationCrs().authid()

    project.readProject.connect(view)
    assert project.read(path), project.error()
    root = project.layerTreeRoot()
    model = QgsLayerTreeModel(root)
    seen["crs"] = project.crs().authid()
    seen["bad"] = [layer.name() for layer in project.mapLayers().values() if not layer.isValid()]
    seen["tree"] = [described(node, model) for node in root.children()]
    seen["order"] = [layer.id() for layer in root.layerOrder()]
    ticked = root.checkedLayers()
    seen["ticked"] = [layer.id() for layer in root.layerOrder() if layer in ticked]
    pictures = {layer.id(): [layer] for layer in root.layerOrder()}
    pictures["view"] = [layer for layer in root.layerOrder() if layer in ticked]
    for name, layers in pictures.items():
        render(layers, project.crs(), seen["view"]).save(str(Path(folder, f"{name}.png")))
    seen["said"] = said
    print(json.dumps(seen))
    project.clear()
    application.exitQgis()


def described(node, model):
    if hasattr(node, "layer"):
        labels = [line.data(0) for line in model.layerLegendNodes(node)]
        return {
            "layer": node.name(),
            "id": node.layerId(),
            "title": node.layer().metadata().title(),
            "ticked": node.isVisible(),
            "crs": node.layer().crs().authid(),
            "legend": [label for label in labels if isinstance(label, str)],
        }
    inside = [described(child, model) for child in node.children()]
    return {"group": node.name(), "ticked": node.isVisible(), "inside": inside}


def render(layers, crs, box):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(crs)
    settings.setExtent(QgsRectangle(*box))
    settings.setOutputSize(QSize(WIDTH, HEIGHT))
    settings.setBackgroundColor(QColor(255, 255, 255, 0))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


if __name__ == "__main__":
    main(*sys.argv[1:3])
