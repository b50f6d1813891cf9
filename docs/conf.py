"""How the documentation is built: ``tox -e docs``."""

from __future__ import annotations

import aritma_session

project = "aritma-session"
author = "the authors of aritma-session"
copyright = author
version = release = aritma_session.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "furo"
html_title = f"aritma-session {release}"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

# Everything that is referred to exists, but for what is documented elsewhere: a build asks no other site.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(requests|redis|keyring|os|collections|contextlib|types|pathlib|oauthlib)(\..*)?"),
    (r"py:.*", r"(aritma_session\.credentials\.Secret|Mapping\[str|Secret|OnEvent|Client|Part|Kind|Sealing)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
