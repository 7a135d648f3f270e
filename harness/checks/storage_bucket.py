"""One bucket over HTTP: a file of A's, and everybody who may not touch it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from harness.checks.storage_client import StorageClient, finding
from harness.database.declaration import Bucket
from harness.database.findings import Gap
from harness.database.oracle import Actor, Subject
from harness.database.prober import Prober
from harness.evidence import Finding

__all__ = ["TriedBucket"]

_PROGRAM = "application/x-msdownload"
_LARGEST = 64 * 2**20


@dataclass
class TriedBucket:
    """A bucket, and the ``folders`` that are A's and B's in it."""

    client: StorageClient
    prober: Prober
    subject: Subject
    folders: tuple[str, str]
    mark: str = field(default_factory=lambda: f"probe-{uuid.uuid4().hex[:8]}")
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The bucket's id."""
        return self.subject.bucket or ""

    @property
    def bucket(self) -> Bucket:
        """What is declared of it."""
        return self.prober.declaration.buckets[self.name]

    @property
    def files(self) -> list[str]:
        """Everything that may come to be in it, by whatever mistake."""
        names = ("own", "forged", "large", "program")
        return [*(self._path(name) for name in names), f"{self.folders[1]}/{self.mark}-moved.txt"]

    def _path(self, name: str) -> str:
        return f"{self.folders[0]}/{self.mark}-{name}.txt"

    def everything(self) -> Iterator[Finding]:
        """A's file comes to be; A may do with it what is declared, and others no more than that."""
        a, own = self.prober.worlds["A"].actor, self._path("own")
        may = self._may(a, own, new=True)["INSERT"]
        token = self._token(a) if may else self.client.service
        made = self._object("POST", own, token, **self._small())
        if not made.is_success and may:
            yield finding("owners upload into their folder", f"POST as A, {self.name}/{own}", made)
        if not made.is_success:
            why = f"no file could be planted over HTTP: {made.status_code} {made.text[:120]}"
            self.gaps.extend([] if may else [Gap(f"bucket {self.name}", why)])
            return
        yield from self._promised(a, own)
        yield from self._limits(a, may=may)
        yield from self._bad_tokens(a, own)
        yield from self._public(own)
        others = {"B": self.prober.worlds["B"].actor, "anybody": self.prober.anonymous}
        for title, actor in others.items():
            yield from self._reads(title, actor, own)
        for title, actor in others.items():
            yield from self._writes(title, actor, own)
        for title, actor in others.items():
            if not self._may(actor, own)["DELETE"]:
                answer = self._object("DELETE", own, self._token(actor))
                yield from self._refused("another's file", f"DELETE as {title}", own, answer)
        yield from self._removed(a, own)

    def _promised(self, a: Actor, own: str) -> Iterator[Finding]:
        """What A may do with the file works: else refusals prove nothing."""
        may = self._may(a, own)
        if may["SELECT"]:
            read = self._object("GET", f"authenticated/{self.name}/{own}", self._token(a), whole=True)
            if read.content != b"own":
                yield finding("owners read what they uploaded", f"GET as A, {self.name}/{own}", read)
        if may["SELECT"] and may["UPDATE"]:
            changed = self._object("PUT", own, self._token(a), **self._small())
            if not changed.is_success:
                yield finding("owners replace their files", f"PUT as A, {self.name}/{own}", changed)

    def _removed(self, a: Actor, own: str) -> Iterator[Finding]:
        may = self._may(a, own)
        there = self._object("GET", f"authenticated/{self.name}/{own}", self.client.service, whole=True)
        if may["SELECT"] and may["DELETE"] and there.is_success:
            answer = self._object("DELETE", own, self._token(a))
            if not answer.is_success:
                yield finding("owners remove their files", f"DELETE as A, {self.name}/{own}", answer)

    def _reads(self, title: str, actor: Actor, own: str) -> Iterator[Finding]:
        if self._may(actor, own)["SELECT"]:
            return
        token = self._token(actor)
        read = self._object("GET", f"authenticated/{self.name}/{own}", token, whole=True)
        yield from self._refused("another's file", f"GET as {title}", own, read)
        prefix = own.rpartition("/")[0]
        seen = self._object(
            "POST", f"list/{self.name}", token, whole=True, json={"prefix": prefix, "limit": 100}
        )
        if seen.is_success and seen.json():
            yield finding("an empty list: another's folder", f"list as {title}, {self.name}/{prefix}", seen)

    def _writes(self, title: str, actor: Actor, own: str) -> Iterator[Finding]:
        token, forged, moved = self._token(actor), self._path("forged"), self.files[-1]
        may, new = self._may(actor, own), self._may(actor, forged, new=True)
        if not new["INSERT"]:
            answer = self._object("POST", forged, token, **self._small())
            yield from self._refused("another's folder", f"POST as {title}", forged, answer)
        if not may["UPDATE"]:
            answer = self._object("PUT", own, token, **self._small())
            yield from self._refused("another's file", f"PUT as {title}", own, answer)
            upsert = self._small()
            upsert["headers"] = {**upsert["headers"], "x-upsert": "true"}
            answer = self._object("POST", own, token, **upsert)
            yield from self._refused("another's file", f"upsert as {title}", own, answer)
            keys = {"bucketId": self.name, "sourceKey": own, "destinationKey": moved}
            answer = self._object("POST", "move", token, whole=True, json=keys)
            yield from self._refused("another's file", f"move as {title}", own, answer)
            if answer.is_success:  # back, so that the rest is asked of a file that is there
                back = {**keys, "sourceKey": moved, "destinationKey": own}
                self._object("POST", "move", self.client.service, whole=True, json=back)

    def _public(self, own: str) -> Iterator[Finding]:
        answer = self._object("GET", f"public/{self.name}/{own}", self.client.anonymous, whole=True)
        if not self.bucket.public:
            yield from self._refused("a private bucket", "GET of the public URL as anybody", own, answer)
        elif not answer.is_success:
            yield finding("a public bucket", f"GET of the public URL, {self.name}/{own}", answer)

    def _limits(self, a: Actor, *, may: bool) -> Iterator[Finding]:
        size, token = self.bucket.bytes, self._token(a)
        if not may:
            self.notes.append(
                f"bucket {self.name}: its limits were not tried over HTTP: no user uploads into it"
            )
            return
        if size is not None and size > _LARGEST:
            self.notes.append(
                f"bucket {self.name}: its size limit was not tried over HTTP: {self.bucket.size}"
            )
        elif size is not None:
            huge = {**self._small(), "content": b"\0" * (size + 1)}
            answer = self._object("POST", self._path("large"), token, **huge)
            where = f"POST of {self.bucket.size} + 1"
            yield from self._refused("over the size limit", where, self._path("large"), answer)
        if self.bucket.types and _PROGRAM not in self.bucket.types:
            code = {**self._small(), "headers": {"Content-Type": _PROGRAM}}
            answer = self._object("POST", self._path("program"), token, **code)
            yield from self._refused(
                "not an allowed type", "POST of a program", self._path("program"), answer
            )

    def _bad_tokens(self, a: Actor, own: str) -> Iterator[Finding]:
        for title, token in self.client.bad_tokens(a.user or "").items():
            answer = self._object("GET", f"authenticated/{self.name}/{own}", token, whole=True)
            yield from self._refused(title, f"GET with {title}", own, answer)

    def _refused(self, why: str, where: str, path: str, answer: httpx.Response) -> Iterator[Finding]:
        if answer.is_success:
            yield finding(f"refused: {why}", f"{where}, {self.name}/{path}", answer)
        elif answer.is_server_error:
            gap = Gap(f"bucket {self.name}", f"HTTP {answer.status_code} to {where}: that denies nothing")
            self.gaps += [] if gap in self.gaps else [gap]

    def _may(self, actor: Actor, path: str, *, new: bool = False) -> dict[str, bool]:
        row = {
            "bucket_id": self.name,
            "name": path,
            "owner_id": actor.user if new else self.prober.worlds["A"].user,
        }
        with self.prober.session.opened():
            return self.prober.expected(self.subject, actor, row, new=new)

    def _token(self, actor: Actor) -> str:
        return self.client.token(actor.user) if actor.user else self.client.anonymous

    def _small(self) -> dict[str, Any]:
        """A file that the bucket takes."""
        kind = next(iter(self.bucket.types), "text/plain").replace("*", "png")
        return {"content": b"own", "headers": {"Content-Type": kind}}

    def _object(
        self, method: str, path: str, token: str, *, whole: bool = False, **body: Any
    ) -> httpx.Response:
        """Ask about a file of the bucket; ``whole``: the path is a route already."""
        return self.client.object(method, path if whole else f"{self.name}/{path}", token, **body)
