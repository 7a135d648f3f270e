"use client";

import Link from "next/link";
import { useRouter } from "next/navigation";
import { useEffect, useRef, useState } from "react";
import { readFragment } from "@/lib/callback";
import { accept, issuer } from "@/lib/session";
import { Logo } from "./logo";

/** Takes the session out of the address, and the address out of the history. */
export function Callback() {
  const router = useRouter();
  const pending = useRef<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    function take() {
      // strict mode runs effects twice, but the fragment can be taken only once
      pending.current = location.hash || pending.current || "#";
      history.replaceState(null, "", location.pathname);
      const read = readFragment(pending.current, issuer(), Date.now() / 1000);
      if (!read.ok) return setProblem(read.reason);
      setProblem(null);
      accept(read.session).then(
        () => router.replace("/"),
        () => setProblem("The sign-in could not be completed. Ask for a new link."),
      );
    }
    take();
    // another link, opened while this page is still there, changes nothing but the fragment
    const again = () => location.hash && take();
    addEventListener("hashchange", again);
    return () => removeEventListener("hashchange", again);
  }, [router]);

  return (
    <main className="card-page" data-page="auth-callback">
      <section className="card" aria-live="polite">
        <Logo />
        {problem ? (
          <>
            <h1>That did not work</h1>
            <p role="alert">{problem}</p>
            <Link className="button primary" href="/sign-in">To the sign-in</Link>
          </>
        ) : (
          <>
            <h1>Signing you in…</h1>
            <p className="quiet">This takes a moment.</p>
          </>
        )}
      </section>
    </main>
  );
}
