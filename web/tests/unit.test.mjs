// Tests of the app's logic that needs no browser: `npm test`. The modules are compiled on the way in.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import ts from "typescript";

const folder = mkdtempSync(join(tmpdir(), "web-unit-"));
after(() => rmSync(folder, { recursive: true }));

async function load(...names) {
  for (const name of names) {
    const source = readFileSync(new URL(`../lib/${name}.ts`, import.meta.url), "utf8");
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
    const { outputText } = ts.transpileModule(source, { compilerOptions: options });
    writeFileSync(join(folder, `${name}.mjs`), outputText.replace(/from "\.\/([\w-]+)"/g, 'from "./$1.mjs"'));
  }
  return import(pathToFileURL(join(folder, `${names.at(-1)}.mjs`)).href);
}

const { dataOf } = await load("sse");
const { readFragment } = await load("jwt", "callback");
const { scrubEvent, scrubText } = await load("scrub");
const { ask, ChatError } = await load("sse", "chat");

const stream = (...pieces) => new ReadableStream({
  start(controller) {
    const encoder = new TextEncoder();
    for (const piece of pieces) controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
    controller.close();
  },
});

async function all(...pieces) {
  const got = [];
  for await (const data of dataOf(stream(...pieces))) got.push(data);
  return got;
}

describe("server-sent events", () => {
  test("however they are cut, they come whole and in order", async () => {
    const text = 'data: {"a":"é€😀"}\n\n: a comment\ndata:two\r\ndata: lines\r\n\r\nevent: x\ndata: three\n\n';
    const bytes = new TextEncoder().encode(text);
    for (let size = 1; size < bytes.length; size += 1) {
      const pieces = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
      assert.deepEqual(await all(...pieces), ['{"a":"é€😀"}', "two\nlines", "three"], `pieces of ${size}`);
    }
  });
  test("an event that was cut off is none", async () => {
    assert.deepEqual(await all("data: one\n\ndata: tw"), ["one"]);
    assert.deepEqual(await all(""), []);
  });
});

const ISSUER = "http://127.0.0.1:54321/auth/v1";
const NOW = 1_800_000_000;
const GOOD = {
  iss: ISSUER, aud: "authenticated", sub: "7b1a3c1e-0c1b-4c5e-9c37-0a4b7c0f8a11", exp: NOW + 60, email: "a@b.test",
};
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const token = (claims) => `${encode({ alg: "HS256" })}.${encode(claims)}.c2ln`;
const read = (claims, rest = "") => readFragment(`#access_token=${token(claims)}&token_type=bearer${rest}`, ISSUER, NOW);

describe("the callback's fragment", () => {
  test("a good one makes a session", () => {
    const { ok, session } = read({ ...GOOD, email: "zoë@b.test" }, "&refresh_token=r1");
    assert.ok(ok);
    assert.deepEqual(session, {
      token: token({ ...GOOD, email: "zoë@b.test" }), refreshToken: "r1", userId: GOOD.sub, email: "zoë@b.test",
      expiresAt: NOW + 60,
    });
  });
  for (const [name, claims, reason] of [
    ["expired", { ...GOOD, exp: NOW }, /expired/],
    ["of another issuer", { ...GOOD, iss: "https://other/auth/v1" }, /another environment/],
    ["of another audience", { ...GOOD, aud: "service" }, /another environment/],
    ["of nobody", { ...GOOD, sub: "x" }, /damaged/],
    ["without an end", { ...GOOD, exp: "soon" }, /damaged/],
  ]) {
    test(`one that is ${name} is refused`, () => {
      const result = read(claims);
      assert.equal(result.ok, false);
      assert.match(result.reason, reason);
    });
  }
  test("damage, an error and nothing are refused in words", () => {
    for (const [fragment, reason] of [
      ["#access_token=a.b", /damaged/], ["#access_token=a.b.c", /damaged/], ["", /no sign-in/],
      ["#error=access_denied&error_description=Email+link+is+invalid", /Email link is invalid/],
      [`#access_token=${token(GOOD)}&token_type=mac`, /kind of token/],
    ]) {
      const result = readFragment(fragment, ISSUER, NOW);
      assert.equal(result.ok, false);
      assert.match(result.reason, reason);
    }
  });
});

describe("scrubbing", () => {
  test("nothing that identifies a person leaves", () => {
    const jwt = token(GOOD);
    const event = scrubEvent({
      user: { id: "1", ip_address: "192.0.2.1" },
      server_name: "host",
      request: { url: `http://h/auth/callback?token=${jwt}#access_token=${jwt}`, method: "POST", headers: { cookie: "c" } },
      exception: { values: [{ value: `for a@b.test with Bearer ${jwt}`, stacktrace: { frames: [{ lineno: 3 }] } }] },
    });
    const text = JSON.stringify(event);
    for (const bad of [jwt, "a@b.test", "192.0.2.1", "cookie", "host\""]) assert.ok(!text.includes(bad), bad);
    assert.deepEqual(event.request, { method: "POST", url: "http://h/auth/callback" });
    assert.equal(event.exception.values[0].stacktrace.frames[0].lineno, 3);
  });
  test("ordinary text stays", () => assert.equal(scrubText("key not found at 10:30"), "key not found at 10:30"));
});

describe("asking", () => {
  const question = () => ({
    token: "t", mode: "instant", messages: [{ role: "user", content: "x" }], signal: new AbortController().signal,
  });
  const answering = (body, init) => { globalThis.fetch = async () => new Response(body, init); };

  test("the text grows as it comes", async () => {
    const event = (content) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
    answering(stream(event("Hel"), event("lo"), 'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n', "data: [DONE]\n\n"),
      { headers: { "x-request-id": "r" } });
    const seen = [];
    assert.deepEqual(await ask(question(), (text) => seen.push(text)),
      { text: "Hello", tokens: 2, requestId: "r", truncated: false });
    assert.deepEqual(seen, ["Hel", "Hello"]);
  });
  test("a stream without its end was cut", async () => {
    answering(stream('data: {"choices":[{"delta":{"content":"a"}}]}\n\n'));
    await assert.rejects(ask(question(), () => {}), (error) => error instanceof ChatError && error.trouble === "cut");
  });
  for (const [status, trouble, headers, wait] of [
    [401, "expired"], [413, "too-long"], [429, "limit", { "retry-after": "17" }, 17], [502, "not-ready"], [503, "not-ready"],
    [500, "failed"], [403, "refused"],
  ]) {
    test(`status ${status} is ${trouble}`, async () => {
      answering("<html>", { status, headers });
      await assert.rejects(ask(question(), () => {}),
        (error) => error.trouble === trouble && error.retryAfter === (wait ?? null));
    });
  }
  test("what the gateway calls too long is too long", async () => {
    const error = { code: "request_tokens_exceeded", message: "about 9 prompt tokens" };
    answering(JSON.stringify({ error }), { status: 400 });
    await assert.rejects(ask(question(), () => {}), (refusal) => refusal.trouble === "too-long");
  });
  test("no token, no request; no network, no answer", async () => {
    globalThis.fetch = () => Promise.reject(new TypeError("failed"));
    await assert.rejects(ask({ ...question(), token: null }, () => {}), (error) => error.trouble === "signed-out");
    await assert.rejects(ask(question(), () => {}), (error) => error.trouble === "network");
  });
});
