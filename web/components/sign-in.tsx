"use client";

import Link from "next/link";
import { useRouter } from "next/navigation";
import { useEffect, useState, type FormEvent } from "react";
import { config } from "@/lib/config";
import { confirmCode, requestEmail, useSignIn } from "@/lib/session";
import { Logo } from "./logo";

export function SignIn() {
  const router = useRouter();
  const signIn = useSignIn();
  useEffect(() => {
    if (signIn.state === "in") router.replace("/");
  }, [router, signIn.state]);

  return (
    <main className="card-page">
      <section className="card">
        <Logo />
        <h1>Welcome</h1>
        {signIn.state === "expired" && <p role="alert" className="banner">Your sign-in has expired.</p>}
        {config.NEXT_PUBLIC_AUTH === "supabase" ? <ByEmail /> : <ByLink />}
      </section>
      <p className="foot">{config.NEXT_PUBLIC_ENVIRONMENT} · {config.NEXT_PUBLIC_RELEASE}</p>
    </main>
  );
}

function ByLink() {
  return (
    <>
      <p>This environment signs you in with a personal link. Ask whoever runs it for one, or print one yourself:</p>
      <pre className="command"><code>harness sign-in</code></pre>
      <p className="quiet">Open the link in this browser. It works for one hour.</p>
      <Link className="button" href="/">Back</Link>
    </>
  );
}

function ByEmail() {
  const [email, setEmail] = useState("");
  const [code, setCode] = useState("");
  const [sent, setSent] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      if (sent) await confirmCode(email, code.trim());
      else {
        await requestEmail(email.trim());
        setSent(true);
      }
    } catch (error) {
      setProblem(error instanceof Error ? error.message : "That did not work.");
    } finally {
      setBusy(false);
    }
  }

  return (
    <form onSubmit={submit}>
      <p>{sent ? `We sent a link and a code to ${email}.` : "We send you a link by e-mail. No password."}</p>
      {sent ? (
        <label>
          Code
          <input key="code" autoFocus required inputMode="numeric" autoComplete="one-time-code" pattern="[0-9 ]{6,12}"
            value={code} onChange={(event) => setCode(event.target.value)} />
        </label>
      ) : (
        <label>
          E-mail
          <input key="email" autoFocus required type="email" autoComplete="email" placeholder="you@example.org"
            value={email} onChange={(event) => setEmail(event.target.value)} />
        </label>
      )}
      {problem && <p role="alert" className="banner">{problem}</p>}
      <button className="button primary" disabled={busy}>{sent ? "Sign in" : "Send me a link"}</button>
    </form>
  );
}
