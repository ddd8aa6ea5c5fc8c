"""Draws docs/images/qgis_project.png: a project as QGIS opens it, its panel beside its map.

Run with the Python that QGIS belongs to: /usr/bin/python3 docs/images/render_project.py PROJECT OUT.png
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsLayerTreeModel,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
)
from qgis.gui import QgsLayerTreeView
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QPixmap
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QWidget

WIDTH, HEIGHT, PANEL = 1320, 560, 350


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
    settings = QgsMapSettings()
    settings.setLayers([layer for layer in root.layerOrder() if layer in root.checkedLayers()])
    settings.setDestinationCrs(project.crs())
    settings.setExtent(next(x for x in settings.layers() if "Class" in x.name()).extent())
    settings.setOutputSize(QSize(WIDTH - PANEL, HEIGHT))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    canvas = QLabel()
    canvas.setPixmap(QPixmap.fromImage(job.renderedImage()))
    window = QWidget()
    row = QHBoxLayout(window)
    row.addWidget(panel)
    row.addWidget(canvas)
    window.resize(WIDTH, HEIGHT)
    window.show()
    application.processEvents()
    window.grab().save(out)


application = QgsApplication([], True)
application.initQgis()
draw(*sys.argv[1:3])
QgsProject.instance().clear()
os._exit(0)  # Qt falls over its own feet when windows go in the wrong order
