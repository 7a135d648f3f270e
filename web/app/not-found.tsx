import Link from "next/link";

export default function NotFound() {
  return (
    <main className="card-page">
      <section className="card">
        <h1>There is nothing here</h1>
        <p>The address may be old, or mistyped.</p>
        <Link className="button primary" href="/">Back to the chat</Link>
      </section>
    </main>
  );
}
