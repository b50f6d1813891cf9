"""``requests.Session`` for Aritma's banking APIs, with one OAuth 2.0 token for all processes."""

__version__ = "0.1.0"
