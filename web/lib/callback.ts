import { claimsOf } from "./jwt";

export interface Session {
  token: string;
  refreshToken: string | null;
  userId: string;
  email: string | null;
  /** Seconds since 1970. */
  expiresAt: number;
}

export type Callback = { ok: true; session: Session } | { ok: false; reason: string };

/**
 * Reads the fragment that Supabase Auth puts behind the address of the callback page (implicit flow).
 * `issuer` is the one whose tokens this app takes; `now` is in seconds.
 */
export function readFragment(fragment: string, issuer: string, now: number): Callback {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  const refused = values.get("error_description") ?? values.get("error");
  if (refused) return { ok: false, reason: `The sign-in was refused: ${refused.slice(0, 200)}` };
  const token = values.get("access_token");
  if (!token) return { ok: false, reason: "This link carries no sign-in. Ask for a new one." };
  if ((values.get("token_type") ?? "bearer").toLowerCase() !== "bearer")
    return { ok: false, reason: "This link carries a kind of token that this app does not know." };
  return sessionOf(token, values.get("refresh_token"), issuer, now);
}

/** A session from `token`, if it has the shape, the issuer and the life that it must have. */
export function sessionOf(token: string, refreshToken: string | null, issuer: string, now: number): Callback {
  const claims = claimsOf(token);
  if (!claims) return { ok: false, reason: "This link is damaged. Ask for a new one." };
  const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  if (claims.iss !== issuer || !audience.includes("authenticated"))
    return { ok: false, reason: "This link belongs to another environment." };
  if (claims.exp <= now) return { ok: false, reason: "This link has expired. Ask for a new one." };
  const { sub: userId, exp: expiresAt, email = null } = claims;
  return { ok: true, session: { token, refreshToken, userId, email, expiresAt } };
}
