import { dataOf } from "./sse";

export type Mode = "instant" | "thinking";
export interface Turn { role: "user" | "assistant" | "system"; content: string }

export type Trouble =
  | "signed-out" | "expired" | "limit" | "too-long" | "not-ready" | "network" | "cut" | "refused" | "failed";

/** An answer that did not come, in words for the person who waits for it. */
export class ChatError extends Error {
  constructor(
    readonly trouble: Trouble,
    message: string,
    readonly requestId: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "ChatError";
  }
}

export interface Answer { text: string; tokens: number | null; requestId: string | null; truncated: boolean }
interface Question { token: string | null; mode: Mode; messages: Turn[]; signal: AbortSignal }

/** Asks the model; `onText` is called with the whole text so far each time some arrives. */
export async function ask(question: Question, onText: (text: string) => void): Promise<Answer> {
  if (!question.token) throw new ChatError("signed-out", "You are not signed in.");
  const response = await send(question);
  const requestId = response.headers.get("x-request-id");
  if (!response.ok || !response.body) throw await refusal(response, requestId);
  return read(response.body, requestId, onText, question.signal);
}

async function send({ token, mode, messages, signal }: Question): Promise<Response> {
  try {
    return await fetch("/api/chat", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ mode, messages }),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ChatError("network", "The server cannot be reached. Check your connection, then try again.");
  }
}

interface Chunk {
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: { completion_tokens?: number } | null;
  error?: { message?: string };
}

async function read(
  body: ReadableStream<Uint8Array>, requestId: string | null, onText: (text: string) => void, signal: AbortSignal,
): Promise<Answer> {
  const answer: Answer = { text: "", tokens: null, requestId, truncated: false };
  try {
    for await (const data of dataOf(body)) {
      if (data === "[DONE]") return answer;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new ChatError("failed", chunk.error.message ?? "The model failed.", requestId);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) onText((answer.text += choice.delta.content));
      if (choice?.finish_reason === "length") answer.truncated = true;
      answer.tokens = chunk.usage?.completion_tokens ?? answer.tokens;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ChatError) throw error;
  }
  throw new ChatError("cut", "The answer was cut off on its way.", requestId);
}

/** The gateway's codes, in words for people rather than for programs. */
const LIMITS: Record<string, string> = {
  user_tokens_exceeded: "You have used up your tokens for today.",
  user_concurrency_exceeded: "Several of your answers are on their way already. Wait for one of them.",
  thinking_budget_exceeded: "The thinking model has used up its budget for today. The instant model still answers.",
};
const TOO_LONG = ["request_tokens_exceeded", "context_length_exceeded", "request_too_large", "body_too_large"];

async function refusal(response: Response, requestId: string | null): Promise<ChatError> {
  const { message, code } = await details(response);
  const wait = Number(response.headers.get("retry-after")) || null;
  const made = (trouble: Trouble, text: string) => new ChatError(trouble, text, requestId, wait);
  if (code && TOO_LONG.includes(code)) return made("too-long", "This conversation has become too long. Start a new one.");
  switch (response.status) {
    case 401:
      return made("expired", "Your sign-in has expired. Sign in again to go on.");
    case 413:
      return made("too-long", "This conversation has become too long. Start a new one.");
    case 429:
      return made("limit", LIMITS[code ?? ""] ?? message ?? "You have reached your limit for now.");
    case 502: case 503: case 504:
      return made("not-ready", "The service is not ready right now. Your message is kept; try again in a moment.");
    case 400: case 403: case 422:
      return made("refused", message ?? "The request was refused.");
    default:
      return made("failed", "Something went wrong on our side. It has been reported.");
  }
}

async function details(response: Response): Promise<{ message?: string; code?: string }> {
  try {
    return ((await response.json()) as { error?: { message?: string; code?: string } }).error ?? {};
  } catch {
    return {}; // not JSON: something in front of the gateway answered; the status says enough
  }
}
