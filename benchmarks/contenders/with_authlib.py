"""authlib, which fetches anew by itself; with a leeway of its own unless told another."""

import time

from authlib.integrations.requests_client import OAuth2Session


def warm(token):
    held = {"access_token": token, "token_type": "Bearer", "expires_at": int(time.time()) + 3600}
    return OAuth2Session("bench-client", "bench-secret-1234", token=held)


class cold:
    def __init__(self, target):
        self.session = OAuth2Session(
            target["client_id"],
            target["client_secret"],
            scope="bankservice",
            token_endpoint=target["token_endpoint"],
            token_endpoint_auth_method="client_secret_post",
            grant_type="client_credentials",
            leeway=target.get("leeway", 60),
        )
        self.session.verify = target["ca_bundle"]

    def get(self, url):
        if not self.session.token:
            self.session.fetch_token()
        return self.session.get(url)
