"""Who is compared, each in a module of its own, so that a measured process imports one of them alone.

``warm(token)`` gives a session that has a token for an hour; ``cold(target)`` one that gets its tokens itself, from the
place that ``target`` describes. Each sends an authorised request for ``session.get(url)``.
"""

#: What each module's contender is called in tables.
NAMES = {
    "plain": "plain requests",
    "ours": "aritma_session",
    "with_requests_oauthlib": "requests-oauthlib",
    "with_authlib": "authlib",
    "with_google_auth": "google-auth",
    "with_requests_oauth2client": "requests_oauth2client",
    "with_msal": "msal-extensions",
}
