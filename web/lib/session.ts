"use client";

import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import { useEffect, useSyncExternalStore } from "react";
import { sessionOf, type Session } from "./callback";
import { config, required } from "./config";

/**
 * Who is signed in. With NEXT_PUBLIC_AUTH=supabase, Supabase Auth keeps and refreshes the session; otherwise
 * a sign-in link is all there is, and its token lives in this tab's sessionStorage until it expires.
 */
const KEY = "chat.session";
const usesSupabase = config.NEXT_PUBLIC_AUTH === "supabase";

export type SignIn = { state: "loading" } | { state: "out" } | { state: "expired" } | { state: "in"; session: Session };

const LOADING: SignIn = { state: "loading" };
let current: SignIn = LOADING;
let started = false;
const listeners = new Set<() => void>();

export const issuer = () => `${required("NEXT_PUBLIC_SUPABASE_URL")}/auth/v1`;
const now = () => Date.now() / 1000;

function become(next: SignIn): void {
  current = next;
  for (const listener of listeners) listener();
}

let client: SupabaseClient | undefined;

/** Supabase Auth; only where NEXT_PUBLIC_AUTH=supabase. */
function auth(): SupabaseClient["auth"] {
  client ??= createClient(required("NEXT_PUBLIC_SUPABASE_URL"), required("NEXT_PUBLIC_SUPABASE_ANON_KEY"), {
    auth: { flowType: "implicit", detectSessionInUrl: false, storage: sessionStorage, storageKey: KEY },
  });
  return client.auth;
}

function start(): void {
  if (started) return;
  started = true;
  if (usesSupabase) {
    auth().onAuthStateChange((_event, session) => {
      const read = session && sessionOf(session.access_token, session.refresh_token, issuer(), now());
      become(read?.ok ? { state: "in", session: read.session } : { state: "out" });
    });
    return;
  }
  become(stored());
}

function stored(): SignIn {
  const token = sessionStorage.getItem(KEY);
  if (!token) return { state: "out" };
  const read = sessionOf(token, null, issuer(), now());
  if (read.ok) return { state: "in", session: read.session };
  sessionStorage.removeItem(KEY);
  return { state: "expired" };
}

/** Take over the session that the callback page has read. */
export async function accept(session: Session): Promise<void> {
  if (usesSupabase && session.refreshToken) {
    const { error } = await auth().setSession({ access_token: session.token, refresh_token: session.refreshToken });
    if (error) throw new Error("Supabase Auth did not take the session");
    return;
  }
  sessionStorage.setItem(KEY, session.token);
  started = true;
  become({ state: "in", session });
}

/** The present access token (refreshed if need be), or null when nobody is signed in. */
export async function accessToken(): Promise<string | null> {
  if (usesSupabase) return (await auth().getSession()).data.session?.access_token ?? null;
  return current.state === "in" && current.session.expiresAt > now() ? current.session.token : null;
}

export async function signOut(): Promise<void> {
  if (usesSupabase) await auth().signOut({ scope: "local" });
  sessionStorage.removeItem(KEY);
  become({ state: "out" });
}

/** The server no longer takes our token. */
export function expire(): void {
  sessionStorage.removeItem(KEY);
  if (current.state === "in") become({ state: "expired" });
}

/** Send a mail with a sign-in link and a code. */
export async function requestEmail(email: string): Promise<void> {
  const emailRedirectTo = `${required("NEXT_PUBLIC_SITE_URL")}/auth/callback`;
  const { error } = await auth().signInWithOtp({ email, options: { emailRedirectTo, shouldCreateUser: false } });
  if (error) throw new Error(error.message);
}

export async function confirmCode(email: string, token: string): Promise<void> {
  const { error } = await auth().verifyOtp({ email, token, type: "email" });
  if (error) throw new Error(error.message);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSignIn(): SignIn {
  const signIn = useSyncExternalStore(subscribe, () => current, () => LOADING);
  useEffect(start, []);
  const expiresAt = signIn.state === "in" ? signIn.session.expiresAt : null;
  useEffect(() => {
    if (expiresAt === null || usesSupabase) return;
    const timer = setTimeout(expire, Math.min((expiresAt - now()) * 1000, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  }, [expiresAt]);
  return signIn;
}
