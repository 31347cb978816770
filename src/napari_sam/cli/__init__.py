"""The command line: ``napari-sam segment | auto | track | replay | embed | models | info ...``."""

# In the order in which help lists their commands.
from napari_sam.cli import images, sessions, models, about  # isort: skip
from napari_sam.cli.application import app

__all__ = ["about", "app", "images", "models", "sessions"]
