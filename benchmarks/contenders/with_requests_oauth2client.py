"""requests_oauth2client's auth on a plain session; with a leeway of its own unless told another."""

import requests
from requests_oauth2client import BearerToken, ClientSecretPost, OAuth2Client, OAuth2ClientCredentialsAuth


def warm(token):
    client = OAuth2Client("https://id.aritma.io/connect/token", auth=("bench-client", "bench-secret-1234"))
    session = requests.Session()
    session.auth = OAuth2ClientCredentialsAuth(client, token=BearerToken(token, expires_in=3600))
    return session


def cold(target):
    session, lender = requests.Session(), requests.Session()
    session.verify = lender.verify = target["ca_bundle"]
    credentials = ClientSecretPost(target["client_id"], target["client_secret"])
    client = OAuth2Client(target["token_endpoint"], auth=credentials, session=lender)
    session.auth = OAuth2ClientCredentialsAuth(client, scope="bankservice", leeway=target.get("leeway", 20))
    return session
