/** Takes everything out of an error event that could identify a person or let somebody act as one. */

const JWT = /\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?/g;
const BEARER = /\bBearer\s+[^\s"',;]+/gi;
const TOKEN_PARAMETER = /\b(access_token|refresh_token|provider_token|token|apikey|key)=[^&\s"']+/gi;
const EMAIL = /\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b/g;

/** `text` without tokens and e-mail addresses. */
export function scrubText(text: string): string {
  return text
    .replace(JWT, "[token]")
    .replace(BEARER, "Bearer [token]")
    .replace(TOKEN_PARAMETER, "$1=[token]")
    .replace(EMAIL, "[email]");
}

function scrubTree(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return scrubText(value);
  if (value === null || typeof value !== "object") return value;
  if (depth > 12) return "[deep]";
  if (Array.isArray(value)) return value.map((item) => scrubTree(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, scrubTree(item, depth + 1)]));
}

interface Event {
  user?: unknown;
  request?: unknown;
  server_name?: string;
}

/** For Sentry's `beforeSend`: no user, no host name; of the request only method and path. */
export function scrubEvent<E extends Event>(event: E): E {
  const { url, method } = (event.request ?? {}) as { url?: string; method?: string };
  const kept = { ...event, user: undefined, server_name: undefined };
  const request = event.request ? { method, url: url?.split(/[?#]/)[0] } : undefined;
  return scrubTree({ ...kept, request }) as E;
}
