/** The payload of every event of a server-sent event stream, as soon as it is complete. */
export async function* dataOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // a CR at the very end may be the first half of a CRLF: leave it for the next round
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
      }
      if (done) return; // an event without its blank line was cut off: it is not one
    }
  } finally {
    await reader.cancel().catch(() => undefined); // already closed or failed: nothing left to cancel
  }
}
