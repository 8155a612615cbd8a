"""Scaling measurements: collectives (:mod:`.comm`), training (:mod:`.train`) and their report (:mod:`.report`).

Each run of ranks writes raw logs, JSON lines with one file a rank; everything in a report is computed
from those files alone.
"""
