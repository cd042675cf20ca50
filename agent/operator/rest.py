"""The hub's REST interface; the only file that knows requests.

Trust is given with each request: ``REQUESTS_CA_BUNDLE`` overrides what a session is given. The signature is
an ``auth`` of ours: a ``.netrc`` would replace a plain header.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import requests

from .access import Access
from .errors import HubUnavailable, OperatorError
from .explaining import explain, silent
from .replies import Refusal, explain_reply

API_VERSION = "2021-04-12"
CONNECT_TIMEOUT_S = 10.0
TIMEOUT_S = 30.0

Right = Literal["RegistryRead", "RegistryWrite", "ServiceConnect"]


@dataclass(frozen=True, slots=True)
class Reply:
    """``body``: the JSON of the answer, None where it has none."""

    body: Any
    headers: Mapping[str, str]


class Rest:
    """Thread safety: one thread at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session = requests.Session()
        self._session.trust_env = not access.is_local  # no proxy leads to this machine
        port = "" if access.https_port == 443 else f":{access.https_port}"
        self._base = f"https://{access.host}{port}"

    def call(
        self,
        method: str,
        path: str,
        *,
        right: Right,
        device_id: str | None = None,
        body: object = None,
        query: Mapping[str, str] | None = None,
        if_match: str | None = None,
        continuation: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """``right``: what the call needs, for whoever lacks it; ``continuation``: what the last page of a
        query had as its ``x-ms-continuation``. Raises HubRejected, HubUnavailable."""
        given = {"If-Match": if_match, "x-ms-continuation": continuation}
        headers = {name: value for name, value in given.items() if value is not None}
        headers["User-Agent"] = "masthead-operator"
        try:
            answer = self._session.request(
                method,
                self._base + path,
                params={**(query or {}), "api-version": API_VERSION},
                json=body,
                headers=headers,
                auth=self._sign,
                verify=self._access.ca_file or True,
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                allow_redirects=False,  # a signature is for this hub only
            )
        except requests.RequestException as error:
            raise self._explained(error) from error
        if not 200 <= answer.status_code < 300:
            refusal = Refusal(answer.status_code, answer.headers, answer.content)
            raise explain_reply(refusal, self._access, right, device_id)
        try:
            return Reply(json.loads(answer.content) if answer.content else None, answer.headers)
        except (ValueError, RecursionError) as error:
            raise HubUnavailable(
                f"{self._base} does not answer as an IoT Hub does (no JSON): is it the hub, or a proxy?"
            ) from error

    def _explained(self, error: requests.RequestException) -> OperatorError:
        if isinstance(error, requests.Timeout):
            return HubUnavailable(silent(f"{self._access.host}:{self._access.https_port}"))
        return explain(error, self._access, self._access.https_port)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._access.token(time.time())
        return request
