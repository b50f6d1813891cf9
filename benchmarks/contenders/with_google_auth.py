"""google-auth's session and refreshing, with credentials that ask for the token that all others ask for."""

import datetime as dt
import json
import urllib.parse

from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession, Request


class ClientCredentials(Credentials):
    def __init__(self, target):
        super().__init__()
        self.target = target

    def refresh(self, request):
        fields = {"grant_type": "client_credentials", "scope": "bankservice"}
        fields |= {name: self.target[name] for name in ("client_id", "client_secret")}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(fields)
        answer = json.loads(request(self.target["token_endpoint"], method="POST", headers=headers, body=body).data)
        self.hold(answer["access_token"], answer["expires_in"])

    def hold(self, token, seconds):
        now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
        self.token, self.expiry = token, now + dt.timedelta(seconds=seconds)


def warm(token):
    credentials = ClientCredentials({})
    credentials.hold(token, 3600)
    return AuthorizedSession(credentials)


def cold(target):
    import requests

    lender = requests.Session()
    lender.verify = target["ca_bundle"]
    session = AuthorizedSession(ClientCredentials(target), auth_request=Request(lender))
    session.verify = target["ca_bundle"]
    return session
