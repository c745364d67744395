"""Layers: plain torch modules that know no config and no data."""
