import { NextResponse, type NextRequest } from "next/server";
import { config as settings } from "@/lib/config";

/** Every page gets a Content-Security-Policy with a nonce of its own: no other script runs. */
export function proxy(request: NextRequest): NextResponse {
  const nonce = Buffer.from(crypto.randomUUID()).toString("base64");
  const policy = contentSecurityPolicy(nonce, process.env.NODE_ENV === "development");
  const headers = new Headers(request.headers);
  headers.set("x-nonce", nonce);
  headers.set("content-security-policy", policy);
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("content-security-policy", policy);
  return response;
}

function contentSecurityPolicy(nonce: string, development: boolean): string {
  const origins = [settings.NEXT_PUBLIC_SUPABASE_URL, settings.NEXT_PUBLIC_SENTRY_DSN]
    .filter((url): url is string => Boolean(url))
    .map((url) => new URL(url).origin);
  return [
    "default-src 'self'",
    `script-src 'self' 'nonce-${nonce}' 'strict-dynamic'${development ? " 'unsafe-eval'" : ""}`,
    `style-src 'self' ${development ? "'unsafe-inline'" : `'nonce-${nonce}'`}`,
    ["connect-src 'self'", ...(development ? ["ws:"] : []), ...new Set(origins)].join(" "),
    "img-src 'self' data:",
    "font-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
}

export const config = {
  matcher: ["/((?!api/|_next/static|icon.svg).*)"],
};
