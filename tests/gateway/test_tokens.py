"""Access tokens: what must be refused, and keys that come and go."""

from __future__ import annotations

import base64
import json
import time
import uuid

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from tests.gateway.stand import SECRET, bearer, body, token, until


def asked(gateway, given):
    headers = {"Authorization": given} if given is not None else {}
    return gateway.http.post("/v1/chat/completions", json=body(), headers=headers)


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header, signature=""):
    claims = token().split(".")[1]
    return f"{b64(header)}.{claims}.{signature}"


def flipped():
    head, claims, signature = token().split(".")
    return f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def refused():
    """What must be refused, by name; made when it is asked for: most of it is about the time."""
    now = int(time.time())
    return {
        "no header": None,
        "no scheme": token(),
        "basic": "Basic " + base64.b64encode(b"a:b").decode(),
        "empty": "Bearer .",
        "not a token": "Bearer abc",
        "alg none": "Bearer " + unsigned({"alg": "none"}),
        "alg None, signed": "Bearer " + unsigned({"alg": "None"}, "c2ln"),
        "no alg": "Bearer " + unsigned({"typ": "JWT"}, "c2ln"),
        "stripped signature": "Bearer " + token().rpartition(".")[0] + ".",
        "two parts": "Bearer " + token().rpartition(".")[0],
        "flipped signature": "Bearer " + flipped(),
        "other secret": "Bearer " + token(key="x" * 40),
        "expired": "Bearer " + token(exp=now - 1),
        "no exp": "Bearer " + token(exp=None),
        "exp as text": "Bearer " + token(exp="never"),
        "not yet valid": "Bearer " + token(nbf=now + 120),
        "issued in the future": "Bearer " + token(iat=now + 120),
        "wrong audience": "Bearer " + token(aud="other"),
        "no audience": "Bearer " + token(aud=None),
        "wrong issuer": "Bearer " + token(iss="https://evil.example/auth/v1"),
        "anon role": "Bearer " + token(role="anon"),
        "service role": "Bearer " + token(role="service_role"),
        "sub is no user": "Bearer " + token("alice"),
        "no sub": "Bearer " + token(sub=None),
        "sub is a number": "Bearer " + token(sub=7),
        "huge": "Bearer " + token(padding="x" * 9000),
        "header brings a key": "Bearer "
        + token(header={"jwk": OctKey.import_key("x" * 40).as_dict(private=True)}),
        "jku": "Bearer " + token(header={"jku": "http://127.0.0.1:1/keys"}),
        "x5u": "Bearer " + token(header={"x5u": "http://127.0.0.1:1/keys"}),
        "crit": "Bearer " + unsigned({"alg": "HS256", "crit": ["exp"], "exp": 1}, "c2ln"),
        "HS384": "Bearer "
        + jwt.encode({"alg": "HS384"}, {}, OctKey.import_key("x" * 48), algorithms=["HS384"]),
        "kid path": "Bearer " + unsigned({"alg": "ES256", "kid": "../../../dev/null"}, "c2ln"),
        "kid sql": "Bearer " + unsigned({"alg": "ES256", "kid": "' or 1=1 --"}, "c2ln"),
        "kid number": "Bearer " + unsigned({"alg": "ES256", "kid": 7}, "c2ln"),
        "kid huge": "Bearer " + unsigned({"alg": "ES256", "kid": "k" * 4000}, "c2ln"),
        "no kid": "Bearer " + unsigned({"alg": "ES256"}, "c2ln"),
        "not base64": "Bearer !!!.???.***",
        "nested header": "Bearer " + b64(b"[" * 3000) + ".e30.c2ln",
    }


@pytest.fixture(scope="module")
def signer(engine):
    key = ECKey.generate_key("P-256", {"kid": "first", "use": "sig", "alg": "ES256"})
    engine.jwks = {"keys": [key.as_dict(private=False), {"kty": "RSA", "kid": "x"}, "nonsense"]}
    return key


def signed(key, kid=None, user=None):
    claims = json.loads(base64.urlsafe_b64decode(token(user).split(".")[1] + "=="))
    return "Bearer " + jwt.encode({"alg": "ES256", "kid": kid or key.kid}, claims, key)


@pytest.mark.parametrize("name", list(refused()))
def test_refused(gateway, engine, signer, name):
    before = len(engine.asked)
    response = asked(gateway, refused()[name])
    assert response.status_code == 401, (name, response.text)
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (
        error["type"] == "authentication_error" and error["request_id"] == response.headers["x-request-id"]
    )
    assert len(engine.asked) == before


def test_accepted_and_remembered(gateway):
    given = bearer()["Authorization"]
    assert asked(gateway, given).status_code == asked(gateway, given).status_code == 200
    assert asked(gateway, given.replace("Bearer", "bearer")).status_code == 200
    assert asked(gateway, "Bearer " + token(aud=["authenticated", "more"])).status_code == 200


def test_a_remembered_token_still_expires(gateway):
    given = "Bearer " + token(exp=int(time.time()) + 2)
    assert asked(gateway, given).status_code == 200
    refused = until(lambda: (one := asked(gateway, given)).status_code == 401 and one, 30, "expiry")
    assert refused.json()["error"]["code"] == "expired_token"


def test_published_keys(gateway, engine, signer):
    until(lambda: asked(gateway, signed(signer)).status_code == 200, 30, "the keys' arrival")
    public_pem = signer.as_pem(private=False)
    claims = json.loads(base64.urlsafe_b64decode(token().split(".")[1] + "=="))
    mac = OctKey.import_key(SECRET)
    head_and_claims = f"{b64({'alg': 'HS256', 'kid': 'first'})}.{b64(claims)}"
    confused = jwt.encode({"alg": "HS256", "kid": "first"}, claims, mac)
    assert asked(gateway, "Bearer " + confused).status_code == 200  # rightly signed with the secret
    import hashlib
    import hmac

    forged = b64(hmac.new(public_pem, head_and_claims.encode(), hashlib.sha256).digest())
    assert asked(gateway, f"Bearer {head_and_claims}.{forged}").status_code == 401
    other = ECKey.generate_key("P-256")
    assert asked(gateway, signed(other, "first")).status_code == 401


def test_keys_are_kept_when_the_server_is_down_and_unknown_ones_cause_no_flood(gateway, engine, signer):
    until(lambda: asked(gateway, signed(signer)).status_code == 200, 30, "the keys' arrival")
    engine.jwks_status = 500
    try:
        time_out = time.monotonic() + 1.1  # past the cooldown: a fetch is allowed, and fails
        until(lambda: time.monotonic() > time_out, 2)
        before = engine.jwks_fetches
        for _ in range(20):
            assert asked(gateway, signed(signer, "unknown-" + uuid.uuid4().hex)).status_code == 401
        assert engine.jwks_fetches - before <= 2
        assert asked(gateway, signed(signer)).status_code == 200
    finally:
        engine.jwks_status = 200


def test_rotation_withdraws_remembered_tokens(gateway, engine, signer):
    old = signed(signer)
    until(lambda: asked(gateway, old).status_code == 200, 30, "the keys' arrival")
    fresh = ECKey.generate_key("P-256", {"kid": "second", "use": "sig", "alg": "ES256"})
    published, engine.jwks = engine.jwks, {"keys": [fresh.as_dict(private=False)]}
    try:
        until(lambda: asked(gateway, signed(fresh)).status_code == 200, 30, "the rotation")
        assert asked(gateway, old).status_code == 401
    finally:
        engine.jwks = published


def test_no_keys_ever_is_an_outage_not_a_verdict(start, engine, signer):
    lonely = start(jwks_url="http://127.0.0.1:9/jwks", jwt_secret="")
    response = asked(lonely, signed(signer))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "keys_unavailable")
    assert int(response.headers["retry-after"]) > 0
