"""What the HTTP APIs of vendors have in common: a token in a header, refusals in words, tolerant reading.

Only what is used is demanded of an answer: vendors add fields and states without notice. The httpx client
is given: tests bring a transport of their own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import DeployError, HarnessError
from harness.secrets import Secret, redact

__all__ = ["Answer", "VendorApi", "VendorError", "deploying"]

_Model = TypeVar("_Model", bound=BaseModel)
_BUSY = 429
_SERVER_ERROR = 500


class VendorError(HarnessError):
    """A vendor's API refused, or answered something else than it should. ``status`` is the HTTP status."""

    def __init__(self, where: str, what: str, hint: str = "", status: int = 0) -> None:
        self.where, self.what, self.hint, self.status = where, what, hint, status
        super().__init__(f"{where}: {what}" + (f": {hint}" if hint else ""))


class Answer(BaseModel):
    """A part of an answer; what is not declared is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class VendorApi:
    """One vendor. ``client`` has the API's base address; ``hints`` say what to do about an HTTP status."""

    def __init__(self, client: httpx.Client, token: Secret, hints: Mapping[int, str]) -> None:
        self.client, self.token, self._hints = client, token, hints

    def where(self, path: str) -> str:
        """The address of ``path``, as a person reads it."""
        return str(self.client.base_url).rstrip("/") + path

    def ask(
        self,
        method: str,
        path: str,
        model: type[_Model],
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> _Model:
        """What the vendor answers.

        Raises:
            httpx.TransportError: when it does not answer, or not for now (429, 5xx).
            VendorError: when it refuses, or its answer lacks what is needed.
        """
        response = self.send(method, path, params=params, body=body)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the answer"
            what = f"{place}: {first['msg']}"
            raise VendorError(self.where(path), what, "not what this API answers") from None

    def send(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None
    ) -> httpx.Response:
        """The same, for whoever needs nothing of the answer but that it is a success.

        Raises:
            httpx.TransportError: when it does not answer, or not for now (429, 5xx).
            VendorError: when it refuses.
        """
        headers = {"authorization": f"Bearer {self.token.reveal()}", "accept": "application/json"}
        response = self.client.request(method, path, params=params, json=body, headers=headers)
        status = response.status_code
        if status == _BUSY or status >= _SERVER_ERROR:
            raise httpx.RemoteProtocolError(f"HTTP {status}{_later(response)}", request=response.request)
        if not response.is_success:
            said = _message(response)
            hint = "; ".join(filter(None, (said, self._hints.get(status, ""))))
            raise VendorError(self.where(path), f"HTTP {status}", hint, status)
        return response


def _later(response: httpx.Response) -> str:
    """How long a busy vendor asks to be left alone: `retry-after` (s), `x-ratelimit-reset` (epoch, s)."""
    after, reset = response.headers.get("retry-after", ""), response.headers.get("x-ratelimit-reset", "")
    if after.isdigit():
        return f"; asks to wait {after} s"
    if reset.isdigit():
        return f"; asks to wait {max(int(reset) - int(time.time()), 0)} s"
    return ""


def _message(response: httpx.Response) -> str:
    """What a refusal says: `error.message` (Vercel), `error` or `message`; never more than a line."""
    try:
        found = response.json()
    except ValueError:
        found = response.text
    for key in ("error", "message"):
        found = found.get(key, found) if isinstance(found, dict) else found
    return redact(" ".join(str(found).split())[:200]) if isinstance(found, str) else ""


@contextlib.contextmanager
def deploying(component: str, vendor: str, where: str) -> Iterator[None]:
    """Inside the block, what a vendor does not answer or refuses becomes the error of a deployment.

    Raises:
        DeployError: names the component, the address, and what to do.
    """
    try:
        yield
    except httpx.TransportError as error:
        place = str(error.request.url.copy_with(query=None)) if _knows_request(error) else where
        what = f"{place}: {type(error).__name__}: {error}"
        hint = f"see whether {vendor} has an outage, or what keeps this machine from it; then run it again"
        raise DeployError(component, what, hint) from None
    except VendorError as error:
        raise DeployError(component, f"{error.where}: {error.what}", error.hint) from None


def _knows_request(error: httpx.TransportError) -> bool:
    try:
        return bool(error.request)
    except RuntimeError:  # httpx: it was never set
        return False
