"""Designs that begin at a sensor's pins and end in a class: docs/wiring.md."""
