"""The named endpoints, through gradio's own client."""

import json
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


def test_only_these_endpoints_are_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert sorted(named) == ["/list_samples", "/merge", "/passport"]


def test_passport_and_merge(client, pico):
    assert client.predict(adapter=str(pico.task), api_name="/passport")["rank"] == "4"
    made = client.predict(task=str(pico.task), domain=str(pico.domain), recipe={"rank": 3}, api_name="/merge")
    assert made["certificate"]["verdict"] == "pass"
    assert json.loads((Path(made["folder"]) / "adapter_config.json").read_text())["r"] == 3


def test_errors_are_said_in_words(client):
    with pytest.raises(AppError, match="lies outside"):
        client.predict(adapter="/etc", api_name="/passport")
