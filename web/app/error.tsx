"use client";

import { captureException } from "@sentry/browser";
import { useEffect } from "react";

export default function ErrorPage({ error, reset }: { error: Error; reset: () => void }) {
  useEffect(() => {
    captureException(error);
  }, [error]);
  return (
    <main className="card-page">
      <section className="card" role="alert">
        <h1>Something went wrong</h1>
        <p>It has been reported. Your saved conversations are safe.</p>
        <button className="button primary" type="button" onClick={reset}>Try again</button>
      </section>
    </main>
  );
}
