"""Draws docs/images/qgis_project.png: a project as QGIS opens it, its panel beside its map.

Run with the Python that QGIS belongs to: /usr/bin/python3 docs/images/render_project.py PROJECT OUT.png
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import QgsApplication, QgsLayerTreeModel, QgsProject
from qgis.gui import QgsLayerTreeView, QgsMapCanvas
from qgis.PyQt.QtWidgets import QHBoxLayout, QWidget

WIDTH, HEIGHT, PANEL = 1300, 560, 330


def draw(path, out):
    """The picture of a project."""
    project = QgsProject.instance()
    if not project.read(path):
        sys.exit(f"{path} cannot be opened by QGIS: {project.error()}")
    root = project.layerTreeRoot()
    model = QgsLayerTreeModel(root)
    panel = QgsLayerTreeView()
    panel.setModel(model)
    panel.setFixedWidth(PANEL)
    panel.setHeaderHidden(True)
    panel.expandAll()
    canvas = QgsMapCanvas()
    canvas.enableAntiAliasing(True)
    canvas.setDestinationCrs(project.crs())
    canvas.setLayers([layer for layer in root.layerOrder() if layer in root.checkedLayers()])
    window = QWidget()
    row = QHBoxLayout(window)
    row.addWidget(panel)
    row.addWidget(canvas)
    window.resize(WIDTH, HEIGHT)
    window.show()
    canvas.setExtent(next(layer for layer in canvas.layers() if "Class" in layer.name()).extent())
    canvas.waitWhileRendering()
    application.processEvents()
    window.grab().save(out)


application = QgsApplication([], True)
application.initQgis()
draw(*sys.argv[1:3])
QgsProject.instance().clear()
os._exit(0)  # Qt falls over its own feet when windows go in the wrong order
