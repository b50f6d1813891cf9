"""msal with the token cache of msal-extensions: a file that all processes share, with a lock."""

import json
import os

import msal
import msal_extensions
import requests


class Lender(requests.Session):
    """Add what msal will not do without to the sandbox's metadata, which has no users and so nowhere to send them."""

    def get(self, url, **options):
        response = super().get(url, **options)
        response._content = json.dumps({"authorization_endpoint": url, **response.json()}).encode()
        return response


class cold:
    def __init__(self, target):
        self.session, lender = requests.Session(), Lender()
        self.session.verify = lender.verify = target["ca_bundle"]
        os.makedirs(target["cache"], exist_ok=True)
        persistence = msal_extensions.FilePersistence(os.path.join(target["cache"], "msal.json"))
        self.application = msal.ConfidentialClientApplication(
            target["client_id"],
            client_credential=target["client_secret"],
            oidc_authority=f"{target['issuer']}/acme",  # it must have a tenant
            token_cache=msal_extensions.PersistedTokenCache(persistence),
            http_client=lender,
        )

    def get(self, url):
        token = self.application.acquire_token_for_client(["bankservice"])["access_token"]
        return self.session.get(url, headers={"Authorization": f"Bearer {token}"})
