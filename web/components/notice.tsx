"use client";

import Link from "next/link";
import { useEffect, useState } from "react";
import type { Notice } from "@/lib/use-chat";
import { Close, Warning } from "./icons";

const TITLES: Record<Notice["trouble"], string> = {
  "signed-out": "You are not signed in",
  expired: "Your sign-in has expired",
  limit: "Limit reached",
  "too-long": "Too long",
  "not-ready": "Not ready",
  network: "No connection",
  cut: "Cut off",
  refused: "Refused",
  failed: "Something went wrong",
  store: "Not saved",
};

interface Props { notice: Notice; onAgain: () => void; onDismiss: () => void }

/** What went wrong, and what can be done about it. */
export function NoticeView({ notice, onAgain, onDismiss }: Props) {
  const wait = useSecondsUntil(notice.retryAt ?? null);
  const signIn = notice.trouble === "signed-out" || notice.trouble === "expired";
  return (
    <div className="notice" role="alert">
      <Warning />
      <div className="notice-text">
        <strong>{TITLES[notice.trouble]}</strong>
        <p>{notice.text}</p>
        {wait > 0 && <p className="quiet">You can try again in {duration(wait)}.</p>}
        {notice.requestId && <p className="quiet small">Request {notice.requestId}</p>}
      </div>
      {signIn && <Link className="button" href="/sign-in">Sign in</Link>}
      {!signIn && notice.again && (
        <button className="button" type="button" onClick={onAgain} disabled={wait > 0}>Try again</button>
      )}
      <button className="icon-button" type="button" onClick={onDismiss} aria-label="Dismiss"><Close /></button>
    </div>
  );
}

function useSecondsUntil(moment: number | null): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (moment === null) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [moment]);
  return moment === null ? 0 : Math.max(0, Math.ceil((moment - now) / 1000));
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.round(seconds / 3600)} hours`;
}
