"""Labels a reference sample in real QGIS as a person would, and prints what its form offers, as JSON.

Run by the system's Python, which knows QGIS: /usr/bin/python3 qgis_form_probe.py SHEET LABELS
LABELS is a JSON file: by field, by id of the cell, what to choose.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import QgsApplication, QgsVectorLayer

application = QgsApplication([], False)
application.initQgis()
sheet, labels = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
layer = QgsVectorLayer(sheet, "sheet", "ogr")
assert layer.isValid(), sheet
forms = {}
for index, field in enumerate(layer.fields()):
    setup = layer.editorWidgetSetup(index)
    forms[field.name()] = [setup.type(), setup.config().get("map")]
assert layer.startEditing(), "not to be edited"
ids = {feature["id"]: feature.id() for feature in layer.getFeatures()}
for name, values in labels.items():
    index = layer.fields().indexOf(name)
    for cell, value in values.items():
        assert layer.changeAttributeValue(ids[int(cell)], index, value)
assert layer.commitChanges(), layer.commitErrors()
readonly = layer.editFormConfig().readOnly(layer.fields().indexOf("id"))
print(
    json.dumps({"forms": forms, "id_is_fixed": readonly, "fields": [f.name() for f in layer.fields()]})
)
del layer
application.exitQgis()
