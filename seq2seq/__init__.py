"""Training and using sequence-to-sequence models, driven by Hydra configs."""

__version__ = "0.1.0"
