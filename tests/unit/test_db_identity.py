"""Access tokens and keys, and the front of the Data API that asks for them."""

from __future__ import annotations

import re

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from harness.identity import user_id
from harness.stack import Stack
from tests.pg_fixture import ROOT


def _claims(stack: Stack, token: str) -> dict:
    secret = stack.secret(stack.environment.supabase.jwt_secret).reveal()
    return jwt.decode(token, OctKey.import_key(secret)).claims


def test_a_users_token_has_the_claims_of_supabase_auth(database_stack: Stack) -> None:
    claims = _claims(database_stack, database_stack.identities.token("carol").reveal())
    assert claims["sub"] == user_id("carol")
    assert claims["role"] == claims["aud"] == "authenticated"
    assert claims["iss"] == f"{database_stack.environment.supabase.api_url}/auth/v1"
    assert claims["email"] == "carol@chat-stack.test"
    assert claims["exp"] - claims["iat"] == 600


def test_an_expired_token_is_expired(database_stack: Stack) -> None:
    claims = _claims(database_stack, database_stack.identities.token("carol", ttl_seconds=-60).reveal())
    assert claims["iat"] < claims["exp"]


def test_keys_are_the_same_at_every_run(database_stack: Stack) -> None:
    identities = database_stack.identities
    assert identities.anon_key() == identities.anon_key()
    assert _claims(database_stack, identities.anon_key().reveal())["role"] == "anon"
    assert _claims(database_stack, identities.service_role_key().reveal())["role"] == "service_role"
    assert "service_role" not in repr(identities.service_role_key())


def test_the_seed_knows_alice_and_bob() -> None:
    seed = (ROOT / "supabase" / "seed.sql").read_text()
    for name in ("alice", "bob"):
        assert re.search(rf"'{user_id(name)}'::uuid, '{name}@", seed)


@pytest.fixture
def api(supabase_stack: Stack) -> httpx.Client:
    return supabase_stack.http(supabase_stack.environment.supabase.api_url)


def test_the_front_behaves_as_a_hosted_projects(api: httpx.Client, supabase_stack: Stack) -> None:
    identities = supabase_stack.identities
    key = identities.anon_key().reveal()
    alice = {"apikey": key, "Authorization": f"Bearer {identities.token('alice').reveal()}"}
    path = "/rest/v1/conversations"
    assert api.get(path).json() == {"message": "No API key found in request"}
    assert api.get(path, headers={"apikey": "x"}).status_code == 401
    assert api.get("/auth/v1/user", headers=alice).status_code == 404
    assert [row["title"] for row in api.get(path, headers=alice).json()] == ["What can you do?"]
    bearer = {"Authorization": alice["Authorization"]}
    assert len(api.get(path, params={"apikey": key}, headers=bearer).json()) == 1
    made = api.post(path, headers=alice, json={"title": "made"})
    assert made.status_code == 201
    one = api.get(path, headers=alice, params={"title": "eq.made", "select": "mode"})
    assert one.json() == [{"mode": "instant"}]


def test_browsers_may_ask_from_anywhere(api: httpx.Client) -> None:
    origin = "http://localhost:3000"
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "apikey,authorization,prefer",
    }
    answer = api.options("/rest/v1/messages", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "apikey,authorization,prefer"
    refused = api.get("/rest/v1/messages", headers={"Origin": origin})
    assert refused.headers["access-control-allow-origin"] == origin


def test_supabase_py_reaches_it(supabase_stack: Stack) -> None:
    from postgrest import SyncPostgrestClient

    identities = supabase_stack.identities
    token = identities.token("bob").reveal()
    headers = {"apikey": identities.anon_key().reveal(), "Authorization": f"Bearer {token}"}
    url = f"{supabase_stack.environment.supabase.api_url}/rest/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as session:
        client = SyncPostgrestClient(url, headers=headers, http_client=session)
        assert [row["title"] for row in client.from_("conversations").select("*").execute().data] == [
            "A longer thought"
        ]
