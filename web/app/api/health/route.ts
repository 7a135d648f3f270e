import { config } from "@/lib/config";
import { gatewayUrl } from "@/lib/http";

export const dynamic = "force-dynamic";

const GATEWAY_MS = 2000;

/** What runs here, and whether its gateway answers. The app itself is up if this answers at all. */
export async function GET(): Promise<Response> {
  const answer = {
    status: "ok",
    environment: config.NEXT_PUBLIC_ENVIRONMENT ?? null,
    release: config.NEXT_PUBLIC_RELEASE ?? null,
    mode: process.env.NODE_ENV,
    gateway: await gateway(),
  };
  return Response.json(answer, { headers: { "cache-control": "no-store" } });
}

async function gateway(): Promise<object> {
  const url = gatewayUrl();
  const host = new URL(url).host;
  const started = performance.now();
  try {
    const answer = await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(GATEWAY_MS), cache: "no-store" });
    await answer.body?.cancel();
    return {
      host,
      state: answer.ok ? "up" : "down",
      environment: answer.headers.get("x-gateway-environment"),
      release: answer.headers.get("x-gateway-release"),
      latency_ms: Math.round(performance.now() - started),
    };
  } catch (error) {
    return { host, state: "down", error: error instanceof Error ? error.name : "unknown" };
  }
}
