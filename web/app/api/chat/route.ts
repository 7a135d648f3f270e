import { failure, gatewayUrl, requestId } from "@/lib/http";

export const dynamic = "force-dynamic";
export const maxDuration = 300;

const MAX_BYTES = 256 * 1024;
const FIRST_BYTE_MS = 120_000; // a cold thinking model may take its time; longer is a hang
const RETURNED = ["content-type", "retry-after", "x-request-id", "x-gateway-environment", "x-gateway-release"];

/** Passes a chat request on to the gateway, and streams its answer back. */
export async function POST(request: Request): Promise<Response> {
  const id = requestId(request);
  const body = await boundedText(request);
  if (body === null) return failure(413, "request_too_large", "The conversation is too long to send.", id);
  const payload = validate(body);
  if (!payload) {
    const message = 'Expected {"mode": "instant" | "thinking", "messages": [{"role", "content"}, ...]}.';
    return failure(400, "invalid_request", message, id);
  }
  const authorization = request.headers.get("authorization");
  return forward(request, payload, id, authorization);
}

async function forward(
  request: Request, payload: object, id: string, authorization: string | null,
): Promise<Response> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), FIRST_BYTE_MS);
  try {
    const answer = await fetch(`${gatewayUrl()}/v1/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "text/event-stream, application/json",
        "x-request-id": id,
        ...(authorization ? { authorization } : {}),
      },
      body: JSON.stringify(payload),
      // when the reader goes away the gateway must hear of it, and stop the model
      signal: AbortSignal.any([request.signal, deadline.signal]),
      cache: "no-store",
      redirect: "error",
    });
    return passOn(answer, id);
  } catch (error) {
    if (request.signal.aborted) return new Response(null, { status: 499 });
    if (deadline.signal.aborted) return failure(504, "gateway_timeout", "The gateway did not answer in time.", id);
    if (error instanceof TypeError) return failure(502, "gateway_unreachable", "The gateway cannot be reached.", id);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function passOn(answer: Response, id: string): Response {
  const headers = new Headers({ "cache-control": "no-store, no-transform", "x-accel-buffering": "no" });
  for (const name of RETURNED) {
    const value = answer.headers.get(name);
    if (value) headers.set(name, value);
  }
  if (!headers.has("x-request-id")) headers.set("x-request-id", id);
  return new Response(answer.body, { status: answer.status, headers });
}

async function boundedText(request: Request): Promise<string | null> {
  if (Number(request.headers.get("content-length") ?? 0) > MAX_BYTES || !request.body) return null;
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > MAX_BYTES) return null;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

interface Message { role: string; content: string }
interface Asked { mode?: unknown; messages?: unknown; max_tokens?: unknown }

function isMessage(item: unknown): item is Message {
  const { role, content } = (item ?? {}) as Partial<Message>;
  return typeof content === "string" && ["user", "assistant", "system"].includes(role ?? "");
}

function validate(body: string): object | null {
  let asked: Asked;
  try {
    asked = JSON.parse(body) as Asked;
  } catch {
    return null;
  }
  const { mode, messages, max_tokens } = asked ?? {};
  if (mode !== "instant" && mode !== "thinking") return null;
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMessage)) return null;
  if (max_tokens !== undefined && !(Number.isInteger(max_tokens) && (max_tokens as number) > 0)) return null;
  return {
    model: mode,
    messages: messages.map(({ role, content }) => ({ role, content })),
    stream: true,
    stream_options: { include_usage: true },
    ...(max_tokens === undefined ? {} : { max_tokens }),
  };
}
