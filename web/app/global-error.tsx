"use client";

import "./globals.css";
import ErrorPage from "./error";

/** For errors in the layout itself: it has to bring its own document. */
export default function GlobalError(props: { error: Error; reset: () => void }) {
  return (
    <html lang="en">
      <body>
        <ErrorPage {...props} />
      </body>
    </html>
  );
}
