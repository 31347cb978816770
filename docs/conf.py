"""How Sphinx makes the site from these pages; ``make docs`` runs it."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "napari-sam-live"
author = "napari-sam-live developers"
project_copyright = author
release = version = version_of("napari-sam-live")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["**/*.py", "images"]
nitpicky = True

# Pages

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

# The reference

default_role = "py:obj"
autodoc_typehints_format = "short"
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
autosummary_generate = False
numpydoc_show_class_members = False

# Looks

html_theme = "furo"
html_title = "napari-sam-live"
html_show_sourcelink = False
html_copy_source = False
suppress_warnings = ["misc.highlighting_failure"]
