"""How Sphinx builds these pages: "tox -e docs"."""

from importlib.metadata import version as version_of

project = "aritma-session"
copyright = "The aritma-session authors"  # noqa: A001  # Sphinx calls it that
version = release = version_of(project)

extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"

html_theme = "alabaster"
html_theme_options = {"description": "requests.Session for Aritma's APIs", "page_width": "60em"}
html_show_sourcelink = False
