"""Chunks of negative length; what they do to a session is shown where one reads an answer."""

from __future__ import annotations

import gc
import io
import weakref

import pytest
import requests
from urllib3 import HTTPResponse

from aritma_session.chunks import no_negative_chunks


@pytest.fixture
def response():
    return requests.Response()


def test_a_body_of_anybody_elses_making_is_read_as_it_is(response):
    response.raw = io.BytesIO(b"content")
    with no_negative_chunks(response):
        assert response.content == b"content"


def test_nothing_is_left_behind_that_keeps_a_connection_open(response):
    response.raw = HTTPResponse(io.BytesIO(b"content"), preload_content=False)
    gc.disable()
    try:
        with no_negative_chunks(response):
            assert response.content == b"content"
        raw = weakref.ref(response.raw)
        response.raw = None
        assert raw() is None
    finally:
        gc.enable()
