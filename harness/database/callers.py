"""Callers whose token says what a policy asks for, or does not say what it counts on."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.database import parts
from harness.database.oracle import Actor, Subject
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.sightings import Sighting
from harness.database.synthesise import constants
from harness.database.whose import claiming, joined

__all__ = ["callers"]


def callers(prober: Prober, subject: Subject, row: Planted, text: str) -> Iterator[Sighting]:
    """Callers whose token says what a policy asks for, as anybody could have one."""
    intruder = prober.worlds["B"].actor
    newcomer = Actor("newcomer", intruder.role, str(uuid.uuid4()))
    yield from prober.existing(subject, newcomer, row, "as one who has no row anywhere")
    theirs = str(prober.worlds["A"].actor.claims.get("email") or "")
    for email in (*_addresses(text), *_patterns(text, theirs)):
        caller = replace(intruder, claims=intruder.claims | {"email": email})
        yield from prober.existing(subject, caller, row, f"with the address {email}")
    for told, claims in _tokens(prober, text):
        for actor in (prober.worlds["A"].actor, intruder):
            caller = replace(actor, claims=joined(actor.claims, claims))
            yield from prober.existing(subject, caller, row, told)
            if actor.name == "A":
                yield from prober.inserts(subject, caller)
    rules = " ".join(f"{rule.where or ''} {rule.check or ''}" for rule in subject.rules)
    for told, caller in _appointed(prober, f"{rules} ; {text}"):
        if "user_metadata" in caller.claims:  # what rests on that is found by reading
            continue
        yield from prober.existing(subject, caller, row, told)
        yield from prober.inserts(subject, caller)
    for claim, said in parts.claims(text):
        for actor in (prober.worlds["A"].actor, intruder):
            caller = replace(actor, claims=actor.claims | {claim: said})
            yield from prober.existing(subject, caller, row, f"with the claim {claim} = {said}")
            if actor.name == "A":
                yield from prober.inserts(subject, caller)


def _appointed(prober: Prober, text: str) -> Iterator[tuple[str, Actor]]:
    """B with what a policy asks for in a token; in the tenant of A as well, where that is said there."""
    intruder, host = prober.worlds["B"].actor, prober.worlds["A"].actor
    for caller in claiming(intruder, text):
        yield "with a claim that is asked for", caller
    if prober.worlds["A"].told and "jwt" in text:
        theirs = {name: said for name, said in host.claims.items() if name != "email"}
        colleague = replace(intruder, claims=joined(intruder.claims, theirs))
        yield "with the claims of user A", colleague
        for caller in claiming(colleague, text):
            yield "with the claims of user A, and one that is asked for", caller


def _patterns(text: str, address: str) -> Iterator[str]:
    """Addresses that are not A's, and match it: where one is a pattern, or only a part is compared."""
    if not address or not re.search(r"~~|~\*?|like|strpos|position|right\(|substr|split_part", text, re.I):
        return
    if "email" in text.lower():
        domain = address.partition("@")[2]
        yield from (f"%@{domain}", f"_{address[1:]}", address[1:], f"x@{domain}", f"@{domain}")


def _tokens(prober: Prober, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokens that anybody may have: without a claim that others have, or with A's ids where users write."""
    if "jwt" not in text:
        return
    told = prober.declaration.settings.get("request.jwt.claims", "")
    for path in dict.fromkeys((*_leaves(told), *_leaves(prober.worlds["A"].actor.token))):
        claims: Any = None
        for name in reversed(path):
            claims = {name: claims}
        yield f"without the claim {'.'.join(path)}", claims
    groups = [str(v) for v in parts.groups(prober, prober.worlds["A"].actor).values()]
    theirs = [prober.worlds["A"].user, *groups, *prober.worlds["A"].told.values()]
    yield "with ids of user A in the user's own metadata", {"user_metadata": {"probe": theirs}}


def _leaves(token: str) -> Iterator[tuple[str, ...]]:
    """Where a token says more than who is asking."""
    try:
        claims = json.loads(token.replace("{user}", "")) if token else {}
    except ValueError:
        return
    for name, said in claims.items() if isinstance(claims, dict) else ():
        if name not in ("sub", "role", "aud", "exp", "iat"):
            yield (name,)
            yield from ((name, inner) for inner in (said if isinstance(said, dict) else ()))


def _addresses(text: str) -> Iterator[str]:
    """Addresses that a policy about e-mail would let in, as somebody else could have one."""
    for match in re.finditer(r"email", text, re.I):
        around = text[max(0, match.start() - 40) : match.end() + 120]
        for constant in constants(around):
            domain = constant.strip("%").lstrip("@")
            if re.fullmatch(r"[\w-]+(\.[\w-]+)+", domain):
                yield f"probe@{domain}"
                yield f"probe@not-{domain}"
                return
