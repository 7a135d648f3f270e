/** What the API routes share. */

const SANE_ID = /^[A-Za-z0-9._-]{8,128}$/;

/** The caller's request id if it is sane, else a new one. */
export function requestId(request: Request): string {
  const given = request.headers.get("x-request-id") ?? "";
  return SANE_ID.test(given) ? given : crypto.randomUUID();
}

/** Base URL of this environment's gateway; read when it is needed, so one build serves any gateway. */
export function gatewayUrl(): string {
  const url = process.env.GATEWAY_URL;
  if (!url) throw new Error("GATEWAY_URL is not set");
  return url.replace(/\/+$/, "");
}

/** An error in the shape of the gateway's, so that clients read one shape. */
export function failure(status: number, code: string, message: string, id: string): Response {
  const error = { message, type: "web_error", code, request_id: id };
  return Response.json({ error }, { status, headers: { "x-request-id": id, "cache-control": "no-store" } });
}
