"""requests-oauthlib, with a new token when it says that the old one has expired, as its documentation shows."""

from oauthlib.oauth2 import BackendApplicationClient, TokenExpiredError
from requests_oauthlib import OAuth2Session


def warm(token):
    held = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
    return OAuth2Session(client=BackendApplicationClient("bench-client"), token=held)


class cold:
    def __init__(self, target):
        self.target = target
        self.session = OAuth2Session(client=BackendApplicationClient(target["client_id"], scope=["bankservice"]))
        self.session.verify = target["ca_bundle"]

    def fetch(self):
        self.session.fetch_token(
            self.target["token_endpoint"], client_secret=self.target["client_secret"], include_client_id=True
        )

    def get(self, url):
        if not self.session.authorized:
            self.fetch()
        try:
            return self.session.get(url)
        except TokenExpiredError:
            self.fetch()
            return self.session.get(url)
