"""Write the pages that a browser sees at the authorize endpoint; they need nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .faults import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["error_page", "form_post_page", "login_page"]

# Without form-action, which browsers apply to the redirect that follows a form as well.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; --page: #eef1f5; --card: #fff; --text: #1b2430; --soft: #5b6675; --line: #b9c2ce;
  --action: #14508c; --on-action: #fff; --alarm: #a11b1b }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1c222b; --text: #e6eaf0; --soft: #9aa6b5;
  --line: #465160; --action: #7db7f0; --on-action: #0c1a28; --alarm: #ff9c94 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif }
main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; overflow-wrap: anywhere }
h1 { margin: 0 0 .5rem; font-size: 1.4rem }
p, ul { margin: 0 0 1rem; color: var(--soft) }
ul { padding-left: 1.25rem }
[role=alert] { color: var(--alarm) }
label { display: block; margin-bottom: 1rem }
input { display: block; width: 100%; margin-top: .25rem; padding: .6rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: .4rem }
button { padding: .6rem 1.2rem; font: inherit; border: 1px solid var(--action); border-radius: .4rem; cursor: pointer;
  background: transparent; color: var(--action) }
button[value=allow] { background: var(--action); color: var(--on-action) }
:focus-visible { outline: 3px solid var(--action); outline-offset: 2px }
"""


def login_page(client_id: str, scopes: Iterable[str], username: str, *, failed: bool = False) -> Answer:
    """Ask the user to sign in, and to allow what a client asks for; the form is sent to where the page came from.

    :param client_id: the client.
    :param scopes: what it asks for.
    :param username: the user name that the form begins with.
    :param failed: whether the credentials of a first try were wrong.
    """
    alert = '<p role="alert">The user name or the password is wrong.</p>' if failed else ""
    asked = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    content = f"""
<p>{escape(client_id)} asks for:</p>
<ul>{asked}</ul>
{alert}
<form method="post">
<label>User name <input name="username" value="{escape(username)}" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button name="action" value="allow">Sign in</button>
<button name="action" value="deny" formnovalidate>Deny</button>
</form>"""
    return _page("Sign in", content, 403 if failed else 200)


def error_page(reason: str) -> Answer:
    """Tell the user what is wrong with a request whose sender cannot be told (RFC 6749 section 4.1.2.1)."""
    return _page("This request cannot be answered", f'<p role="alert">{escape(reason)}</p>', 400)


def form_post_page(url: str, parameters: Mapping[str, str]) -> Answer:
    """Let the browser send parameters to a client at once (OAuth 2.0 Form Post Response Mode section 2).

    :param url: where to.
    :param parameters: the parameters.
    """
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">\n' for name, value in parameters.items()
    )
    content = f"""
<form method="post" action="{escape(url)}">
{fields}<button>Go on</button>
</form>
<script>document.forms[0].submit()</script>"""
    return _page("Back to the application", content, 200, f"{POLICY}; script-src 'unsafe-inline'")


def _page(title: str, content: str, status: int, policy: str = POLICY) -> Answer:
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Aritma ID sandbox</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>Aritma ID sandbox</p>{content}
</main>
</body>
</html>
"""
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return Answer(status, text.encode(), headers)
