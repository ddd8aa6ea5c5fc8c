"""lenscape: Sentinel-2 scenes in, land-cover class maps out, every number on the way traceable."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other. Where something else wants the cores as well
# (another stage, a test, a browser), a small network then trains 20 times slower; asleep they cost
# next to nothing. OpenMP reads this as torch or scikit-learn is first imported, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
