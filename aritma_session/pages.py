"""The pages that a login in a browser ends on: complete in themselves, with nothing of the login in them."""

from __future__ import annotations

import html
import secrets
from typing import NamedTuple

__all__ = ["DENIED", "EXPIRED", "FAILED", "FORWARD", "LOGGED_IN", "USED", "WRONG_STATE", "Page"]


class Page(NamedTuple):
    """Hold what one page says.

    :param status: the HTTP status that it is sent with.
    :param title: what happened.
    :param text: what that means, and what to do next.
    :param path: where it stands, if that is another place than that of the login's end.
    :param sign: a sign beside the title.
    :param script: what the page does by itself.
    """

    status: int
    title: str
    text: tuple[str, ...]
    path: str = "/done"
    sign: str = "!"
    script: str = ""

    def render(self, command: str) -> tuple[bytes, dict[str, str]]:
        """Give the page and the header fields that go with it.

        :param command: what logs a person in.
        """
        nonce = secrets.token_urlsafe(16)
        paragraphs = "".join(f"<p>{_marked(text, command)}</p>" for text in self.text)
        kind = "good" if self.sign == _GOOD else "bad"
        script = f'<script nonce="{nonce}">{self.script}</script>' if self.script else ""
        body = _FRAME.format(
            title=html.escape(self.title), sign=self.sign, kind=kind, text=paragraphs, nonce=nonce, script=script
        )
        policy = ["default-src 'none'", f"style-src 'nonce-{nonce}'", "form-action 'self'", "frame-ancestors 'none'"]
        policy += ["base-uri 'none'", "img-src data:", *([f"script-src 'nonce-{nonce}'"] if script else [])]
        return body.encode(), {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": "; ".join(policy),
        }


def _marked(text: str, command: str) -> str:
    return html.escape(text).replace("COMMAND", f"<code>{html.escape(command)}</code>")


_GOOD = "\u2713"

LOGGED_IN = Page(
    200,
    "You are logged in",
    ("Programs that run under your account on this computer can work with Aritma now.", "You can close this page."),
    sign=_GOOD,
)
DENIED = Page(
    200,
    "The login was denied",
    ("Nobody was logged in, and nothing was changed.", "If that was a mistake, run COMMAND again."),
)
EXPIRED = Page(
    200,
    "The login took too long",
    ("Its answer is not good any more. Nobody was logged in, and nothing was changed.", "Run COMMAND again."),
)
FAILED = Page(
    200,
    "The login failed",
    ("Nobody was logged in, and nothing was changed.", "The terminal in which it was begun says why, and what to do."),
)
WRONG_STATE = Page(
    400,
    "This is not the login that was begun",
    (
        "It may be an older one, or somebody else's: it was not looked at any further.",
        "Go on in the page that the last login opened, or run COMMAND again.",
    ),
    path="/another-login",
)
USED = Page(
    400,
    "This login is over",
    ("Its answer has come already, and is taken once.", "To log in again, run COMMAND."),
    path="/over",
)

#: A page for the implicit grant, whose answer stands where only a script can see it: it goes on by a form, and the
#: address is replaced in what the person sees of the history; a browser may have written it to its disk before.
FORWARD = Page(
    200,
    "One moment",
    ("The login is being completed. This needs JavaScript; without it, run COMMAND again with another browser.",),
    sign="\u2026",
    script="""
    const answer = new URLSearchParams(location.hash.slice(1));
    history.replaceState(null, "", location.pathname);
    const form = document.createElement("form");
    form.method = "post";
    form.action = location.pathname;
    answer.append("forwarded", "1");
    for (const [name, value] of answer) {
        const field = document.createElement("input");
        field.type = "hidden"; field.name = name; field.value = value;
        form.append(field);
    }
    document.body.append(form);
    form.submit();
    """,
)

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style nonce="{nonce}">
:root {{ --ground: #f4f5f7; --card: #ffffff; --text: #1c2430; --faint: #5a6575; --good: #0b7a4b; --bad: #b3261e; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #14181e; --card: #1e242c; --text: #e8ecf1; --faint: #a3adba; --good: #4cc38a; --bad: #ff8a80; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--ground);
  color: var(--text); font: 1rem/1.6 system-ui, sans-serif; }}
main {{ max-width: 30rem; width: 100%; background: var(--card); border-radius: .75rem; padding: 2.5rem;
  box-shadow: 0 1px 3px rgb(0 0 0 / .15); }}
.sign {{ display: grid; place-items: center; width: 3rem; height: 3rem; border-radius: 50%; color: var(--card);
  font-size: 1.5rem; font-weight: 700; }}
.good {{ background: var(--good); }}
.bad {{ background: var(--bad); }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 1.25rem 0 .5rem; }}
p {{ margin: .5rem 0; color: var(--faint); }}
code {{ color: var(--text); overflow-wrap: anywhere; }}
</style>
</head>
<body>
<main>
<div class="sign {kind}" aria-hidden="true">{sign}</div>
<h1>{title}</h1>
{text}
</main>
{script}
</body>
</html>
"""
