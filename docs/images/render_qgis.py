"""Draws docs/images/qgis.png in QGIS as it opens the class map: style and legend untouched.

Run with the Python that QGIS belongs to: /usr/bin/python3 docs/images/render_qgis.py MAP.tif OUT.png
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QFont, QImage, QPainter

WIDTH, HEIGHT, LEGEND, TOP = 1000, 505, 190, 34


def rendered(layer):
    """The picture of a layer."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(WIDTH, HEIGHT))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def draw(tif, out):
    """The picture of a map beside its legend."""
    layer = QgsRasterLayer(tif, "Class map")
    if not layer.isValid():
        sys.exit(f"{tif} cannot be opened by QGIS")
    page = QImage(WIDTH + LEGEND, HEIGHT + TOP + 6, QImage.Format_RGB32)
    page.fill(QColor("white"))
    painter = QPainter(page)
    painter.setFont(QFont("DejaVu Sans", 11))
    painter.drawText(6, 22, f"{Path(tif).name}, {layer.crs().authid()}, as QGIS opens it")
    painter.drawImage(6, TOP, rendered(layer))
    for place, (label, color) in enumerate(layer.legendSymbologyItems()):
        y = TOP + 24 * place
        painter.fillRect(WIDTH + 20, y, 22, 15, color)
        painter.drawText(WIDTH + 50, y + 13, label)
    painter.end()
    page.save(out)


application = QgsApplication([], False)
application.initQgis()
draw(*sys.argv[1:3])
application.exitQgis()
