"""A manifest, from YAML to a checked study: start reading at `load`."""
