"""The command line: ``napari-sam segment | auto | track | replay | tune | embed | models ...``."""

# In the order in which help lists their commands.
from napari_sam.cli import images, sessions, teaching, models, serving, about  # isort: skip
from napari_sam.cli.application import app

__all__ = ["about", "app", "images", "models", "serving", "sessions", "teaching"]
