"use client";

import Markdown from "markdown-to-jsx";
import { memo } from "react";
import type { Shown } from "@/lib/use-chat";

// A model's answer is not to be trusted: no raw HTML, no images that would call home, links open apart.
const OPTIONS = {
  disableParsingRawHTML: true,
  forceBlock: true,
  overrides: {
    a: { props: { target: "_blank", rel: "noopener noreferrer nofollow" } },
    img: ({ alt }: { alt?: string }) => <em>[{alt || "image"}]</em>,
  },
};

export const MessageView = memo(function MessageView({ turn, live }: { turn: Shown; live: boolean }) {
  const mine = turn.role === "user";
  return (
    <article className={mine ? "turn mine" : "turn"} aria-busy={live}>
      <h2 className="sr-only">{mine ? "You" : "Assistant"}</h2>
      {mine ? (
        <div className="bubble">{turn.content}</div>
      ) : (
        <div className={live ? "prose live" : "prose"}>
          <Markdown options={OPTIONS}>{turn.content}</Markdown>
          {turn.stopped && <p className="quiet stopped">The answer stops here.</p>}
        </div>
      )}
    </article>
  );
});
