"""Run a local Aritma ID and a small bank API, over TLS, in the process that asks for them.

For example::

    with Sandbox() as sandbox:
        requests.post(sandbox.token_endpoint, data=..., verify=sandbox.ca_bundle)

The files form a staircase, each importing only from those before it: ``faults`` (what is answered), ``ledger`` (what
was asked, and how often), ``wire`` (HTTP/1.1 over one connection), ``listener`` (TLS, ports, threads), ``authority``
(certificates), ``clients`` and ``users`` (who they are, and how they prove it), ``mint`` (access tokens and id_tokens),
``grants`` (what users granted), ``validator`` (what oauthlib asks), ``endpoints`` (oauthlib's, made so that they log
nothing secret), ``page`` (what a browser shows), ``authorization`` (the authorize endpoint), ``identity`` (Aritma ID),
``bank`` (the API) and ``server`` (the ``Sandbox`` that joins them).
"""

try:
    from .faults import Answer
    from .ledger import Counts, Request
    from .server import Sandbox
except ModuleNotFoundError as _missing:
    if (_missing.name or "").split(".")[0] in {"cryptography", "jwt", "oauthlib", "trustme"}:
        _message = f'the sandbox needs {_missing.name}, which is not installed: pip install "aritma-session[sandbox]"'
        raise ImportError(_message, name=_missing.name) from _missing
    raise

__all__ = ["Answer", "Counts", "Request", "Sandbox"]
