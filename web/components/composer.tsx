"use client";

import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import type { Mode } from "@/lib/chat";
import { Bolt, Send, Stop, Thought } from "./icons";

interface Props {
  mode: Mode;
  busy: boolean;
  onMode: (mode: Mode) => void;
  onSend: (text: string) => void;
  onStop: () => void;
}

const MODES = [
  { mode: "instant", label: "Instant", icon: <Bolt />, hint: "Answers at once" },
  { mode: "thinking", label: "Thinking", icon: <Thought />, hint: "Takes its time; may have to wake up first" },
] as const;

export function Composer({ mode, busy, onMode, onSend, onStop }: Props) {
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const empty = text.trim() === "";
  useEffect(() => field.current?.focus(), []);

  function submit(event?: FormEvent) {
    event?.preventDefault();
    if (empty || busy) return;
    onSend(text.trim());
    setText("");
  }

  function keyDown(event: KeyboardEvent) {
    if (event.key === "Escape" && busy) onStop();
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  }

  return (
    <form className="composer" onSubmit={submit}>
      <textarea ref={field} rows={1} value={text} onChange={(event) => setText(event.target.value)}
        onKeyDown={keyDown} placeholder="Write a message" aria-label="Message" maxLength={20000} enterKeyHint="send" />
      <div className="composer-bar">
        <fieldset className="modes">
          <legend className="sr-only">Model</legend>
          {MODES.map((one) => (
            <label key={one.mode} title={one.hint}>
              <input type="radio" name="mode" checked={mode === one.mode} onChange={() => onMode(one.mode)} />
              <span>{one.icon}{one.label}</span>
            </label>
          ))}
        </fieldset>
        {busy ? (
          <button className="send" type="button" onClick={onStop} aria-label="Stop"><Stop /></button>
        ) : (
          <button className="send" type="submit" disabled={empty} aria-label="Send"><Send /></button>
        )}
      </div>
    </form>
  );
}
