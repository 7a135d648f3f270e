"""Evidence in a bucket of an S3-compatible store, by boto3 (the extra `s3`).

An object is written with ``If-None-Match: *``: of two that write one name, the store lets one succeed. A
store that does not know this condition is refused when it is first written to, since promotions could be
used twice in it.
"""

from __future__ import annotations

import contextlib
from typing import Any

from harness.environment.gate import S3Store
from harness.errors import HarnessError
from harness.secrets import Secret
from harness.store import LARGEST_REPORT, AlreadyThere

__all__ = ["S3Bucket"]

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 15.0
_PAGE = 1000  # names in one answer
_PROBE = "probe/conditional-writes"


class S3Bucket:
    """Implements :class:`harness.store.Store`."""

    def __init__(self, settings: S3Store, access_key: Secret, secret_key: Secret) -> None:
        """Contacts nothing.

        Raises:
            HarnessError: when boto3 is not installed.
        """
        try:
            import boto3  # noqa: PLC0415 - an optional extra
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            raise HarnessError(
                "gate.s3 needs boto3: .venv/bin/pip install boto3==1.44.5; "
                "or keep evidence in a directory (gate.evidence)"
            ) from None
        self._bucket, self._endpoint = settings.bucket, settings.endpoint
        self._probed = False
        self._errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=access_key.reveal(),
            aws_secret_access_key=secret_key.reveal(),
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
            ),
        )

    def put(self, name: str, content: bytes) -> None:
        """Write an object that does not exist yet."""
        if not self._probed:
            self._probe()
        self._put(name, content)

    def get(self, name: str) -> bytes | None:
        """The content of an object."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            content: bytes = answer["Body"].read(LARGEST_REPORT + 1)
        except self._errors as error:
            if _code(error) in ("NoSuchKey", "404"):
                return None
            raise self._trouble(error) from None
        if len(content) > LARGEST_REPORT:
            raise HarnessError(f"{self.where(name)}: is larger than {LARGEST_REPORT // 1024 // 1024} MiB")
        return content

    def names(self, prefix: str) -> list[str]:
        """The names of the objects."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, PaginationConfig={"PageSize": _PAGE}
            )
            return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))
        except self._errors as error:
            raise self._trouble(error) from None

    def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=name)
        except self._errors as error:
            raise self._trouble(error) from None

    def where(self, name: str) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{name}"

    # --- inside ----------------------------------------------------------------------------------

    def _put(self, name: str, content: bytes) -> None:
        try:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=content, IfNoneMatch="*")
        except self._errors as error:
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                what = f"{self.where(name)} exists already; evidence is never replaced"
                raise AlreadyThere(what) from None
            raise self._trouble(error) from None

    def _probe(self) -> None:
        """Whether the store keeps its word: the second write of one name must fail."""
        with contextlib.suppress(AlreadyThere):
            self._put(_PROBE, b"1")
        try:
            self._put(_PROBE, b"2")
        except AlreadyThere:
            self._probed = True
            return
        what = "overwrites objects in spite of If-None-Match: a promotion could be used twice in it"
        raise HarnessError(f"{self._endpoint}: the store {what}; use another one")

    def _trouble(self, error: Exception) -> HarnessError:
        """What went wrong, without the request: it carries a signature."""
        code = _code(error) or type(error).__name__
        return HarnessError(f"{self._endpoint}: bucket {self._bucket}: {code}; see gate.s3")


def _code(error: Exception) -> str:
    response: Any = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
