"""A model on this machine, computing for the viewers of others: ``napari-sam serve``."""
