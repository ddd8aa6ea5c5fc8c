"""Draws docs/images/qgis.png in QGIS as it opens the class map: layer, style and legend untouched.

Run with the Python that QGIS belongs to: /usr/bin/python3 docs/images/render_qgis.py MAP.tif OUT.png
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsLayout,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsProject,
    QgsRasterLayer,
    QgsUnitTypes,
)
from qgis.PyQt.QtGui import QFont

MM = QgsUnitTypes.LayoutMillimeters


def place(layout, item, x, y, width, height):
    layout.addLayoutItem(item)
    item.attemptMove(QgsLayoutPoint(x, y, MM))
    item.attemptResize(QgsLayoutSize(width, height, MM))


def render(tif, out):
    layer = QgsRasterLayer(tif, "Class map")
    if not layer.isValid():
        sys.exit(f"{tif} cannot be opened by QGIS")
    project = QgsProject.instance()
    project.addMapLayer(layer)
    project.setCrs(layer.crs())
    layout = QgsLayout(project)
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(250, 110, MM))
    view = QgsLayoutItemMap(layout)
    place(layout, view, 4, 12, 182, 94)
    view.setCrs(layer.crs())
    view.setLayers([layer])
    view.zoomToExtent(layer.extent())
    view.setFrameEnabled(True)
    legend = QgsLayoutItemLegend(layout)
    legend.setLinkedMap(view)
    place(layout, legend, 190, 10, 48, 90)
    title = QgsLayoutItemLabel(layout)
    title.setText(f"{os.path.basename(tif)}, {layer.crs().authid()}, as QGIS opens it")
    title.setFont(QFont("DejaVu Sans", 10))
    place(layout, title, 4, 3, 230, 8)
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 130
    QgsLayoutExporter(layout).exportToImage(out, settings)


application = QgsApplication([], False)
application.initQgis()
render(*sys.argv[1:3])
QgsProject.instance().clear()
application.exitQgis()
