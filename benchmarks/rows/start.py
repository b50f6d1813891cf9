"""A new process, up to the moment when its first authorised request is sent; the file cache is warm."""

from __future__ import annotations

import children
import measuring

START = """if True:
    from contenders.{module} import warm
    from canned import TOKEN, URL, Last, mounted
    mounted(warm(TOKEN), Last()).get(URL)
"""

IMPORTS = "import requests_oauthlib, filelock, platformdirs\n"

MODULES = ["plain", "ours", "with_requests_oauthlib", "with_authlib", "with_google_auth", "with_requests_oauth2client"]


def measure(bench):
    def start(code):
        return lambda: children.seconds_until_said(code, env=bench.environment)

    starts = {module: start(START.format(module=module)) for module in MODULES}
    starts["import requests_oauthlib, filelock, platformdirs"] = start(IMPORTS + START.format(module="plain"))
    samples = bench.named(measuring.in_turns(starts, 7 if bench.quick else 50, warm_up=2))
    title = "start of a process to its first authorised request"
    yield measuring.compared("start", title, "s", samples, peer="plain requests", target=1.05)
