import { timingSafeEqual } from "node:crypto";

export const dynamic = "force-dynamic";

const MARKER = /^[A-Za-z0-9-]{8,64}$/;

/** Throws on demand, so that error tracking can be proven. To whoever lacks the token it does not exist. */
export async function POST(request: Request): Promise<Response> {
  if (!allowed(request.headers.get("x-probe-token"))) return new Response("Not Found", { status: 404 });
  const marker = request.headers.get("x-probe-marker") ?? "";
  if (!MARKER.test(marker)) return new Response("x-probe-marker: 8 to 64 letters, digits, dashes", { status: 400 });
  throw new Error(`deliberate error ${marker}`);
}

function allowed(given: string | null): boolean {
  const token = process.env.WEB_PROBE_TOKEN;
  if (!token || !given) return false;
  const [one, other] = [Buffer.from(token), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}
