"""How the documentation is built: ``tox -e docs``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import aritma_session

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "aritma-session"
author = "the authors of aritma-session"
copyright = author
version = release = aritma_session.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"aritma-session {release}"
html_static_path = ["_static"]
html_css_files = ["aritma.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

# Everything that is referred to exists, but for what is documented elsewhere: a build asks no other site.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(requests|redis|keyring|os|collections|contextlib|types|pathlib|oauthlib)(\..*)?"),
    (r"py:.*", r"(Mapping\[str|AbstractContextManager|OnEvent|Client|Part|Kind|Sealing)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"


def _without_secret(*arguments: Any) -> tuple[str, str | None] | None:
    """Leave out of a signature what only this library passes: a secret that is hidden already."""
    *_, signature, back = arguments
    if signature is None:
        return None
    return re.sub(r" \| ~?(aritma_session\.credentials\.)?Secret\b", "", signature), back


def setup(app: Sphinx) -> None:
    """Tell Sphinx what is done here."""
    app.connect("autodoc-process-signature", _without_secret)
