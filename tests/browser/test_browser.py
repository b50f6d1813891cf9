"""A person logs in with a real browser, one that runs scripts and has a history."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import threading

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from aritma_session import Token, TokenError
from aritma_session.login import log_in
from aritma_session.pages import DENIED, EXPIRED, LOGGED_IN, WRONG_STATE
from aritma_session.sandbox import Answer
from aritma_session.settings import Settings

#: Where pictures of the pages are kept, to be looked at after the run.
PICTURES = pathlib.Path(os.environ.get("ARITMA_PICTURES", "build/pictures"))


@pytest.fixture(scope="module")
def pictures():
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES


@pytest.fixture(scope="module", params=["light", "dark"])
def browser(request, tmp_path_factory):
    if not (shutil.which("chromium") and shutil.which("chromedriver")) and not os.environ.get("CI"):
        pytest.skip("no chromium here, or no driver for it")
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # of the browser's own, which an account without namespaces, or root, cannot have
        "--disable-dev-shm-usage",
        "--window-size=900,700",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if request.param == "dark" else []),
    ):
        options.add_argument(argument)
    options.accept_insecure_certs = True  # the sandbox's certificates are its own
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=Service(shutil.which("chromedriver"))) as driver:
        driver.set_page_load_timeout(30)
        driver.theme = request.param
        yield driver


@pytest.fixture
def attempt(sandbox, cache, monkeypatch, browser):
    """Log in while somebody works with the browser: the token or the error."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_bundle)

    def attempt(act, scope="openid bankservice", **changes):
        options = {name: changes.pop(name) for name in ("response_mode",) if name in changes}
        given = {
            "grant": "authorization_code",
            "environment": sandbox.issuer,
            "cache": cache,
            "scope": scope,
            **changes,
        }
        settings = Settings.resolve(sandbox.public_client_id, **given)
        came, urls, outcome = threading.Event(), [], []

        def begin(url):
            urls.append(url)
            came.set()

        def work():
            try:
                outcome.append(log_in(settings, show=urls.append, open_browser=begin, patience=60, **options))
            except TokenError as error:
                outcome.append(error)

        browser.delete_all_cookies()
        thread = threading.Thread(target=work)
        thread.start()
        assert came.wait(20)
        act(*reversed(urls))
        thread.join(60)
        return outcome[0]

    return attempt


@pytest.fixture
def sign_in(sandbox, browser):
    """Fill in the server's form, as a person does."""

    def sign_in(url, action="allow"):
        browser.get(url)
        browser.find_element(By.NAME, "username").send_keys(sandbox.username)
        browser.find_element(By.NAME, "password").send_keys(sandbox.password)
        browser.find_element(By.CSS_SELECTOR, f"[name=action][value={action}]").click()

    return sign_in


@pytest.fixture
def ends(browser, pictures):
    """Wait until the browser shows a page of ours, and keep a picture of it."""

    def ends(page, name):
        WebDriverWait(browser, 30).until(lambda driver: driver.title == page.title)
        browser.save_screenshot(str(pictures / f"{name}-{browser.theme}.png"))
        # Neither a blocked resource nor a script that failed; the sandbox has no icon, and the certificate is its own.
        said = [entry["message"] for entry in browser.get_log("browser") if "127.0.0.1" in entry["message"]]
        said = [text for text in said if "the server responded with a status of 400" not in text]
        assert not said

    return ends


def history(browser):
    """All addresses that going back would lead to, from here."""
    script = "return performance.getEntriesByType('navigation')[0].name + ' ' + document.referrer + ' ' + location.href"
    return browser.execute_script(script)


def test_a_login_with_the_authorization_code(attempt, browser, sign_in, ends):
    token = attempt(lambda begin, _: (sign_in(begin), ends(LOGGED_IN, "logged-in")))
    assert isinstance(token, Token)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/done", browser.current_url)
    assert "code=" not in history(browser)
    assert "code=" not in browser.page_source


@pytest.mark.parametrize("scope", ["bankservice", "openid bankservice"])
@pytest.mark.parametrize("response_mode", ["form_post", "fragment"])
def test_a_login_with_the_implicit_grant(attempt, browser, sign_in, ends, scope, response_mode):
    token = attempt(
        lambda begin, _: (sign_in(begin), ends(LOGGED_IN, f"implicit-{response_mode}")),
        grant="implicit",
        scope=scope,
        response_mode=response_mode,
    )
    assert isinstance(token, Token)
    assert browser.current_url.endswith("/done")
    assert token.access_token not in history(browser) + browser.page_source


def test_a_login_that_is_denied(attempt, sign_in, ends):
    error = attempt(lambda begin, _: (sign_in(begin, "deny"), ends(DENIED, "denied")))
    assert error.error == "access_denied"


def test_a_login_whose_code_has_expired(attempt, sandbox, sign_in, ends):
    sandbox.answer_token_requests(Answer.error(400, "invalid_grant"))
    error = attempt(lambda begin, _: (sign_in(begin), ends(EXPIRED, "expired")))
    assert error.error == "invalid_grant"


def test_the_answer_to_another_login(attempt, browser, sign_in, ends):
    def act(begin, url):
        sign_in(re.sub("state=[^&]+", "state=another", url))
        ends(WRONG_STATE, "wrong-state")
        browser.get(begin)  # the server knows the person by now
        ends(LOGGED_IN, "after-wrong-state")

    assert isinstance(attempt(act), Token)
