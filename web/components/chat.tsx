"use client";

import Link from "next/link";
import { useEffect, useRef, useState } from "react";
import type { Session } from "@/lib/callback";
import { useSignIn } from "@/lib/session";
import { useChat, type ChatState } from "@/lib/use-chat";
import { Composer } from "./composer";
import { Close, Menu } from "./icons";
import { Logo } from "./logo";
import { MessageView } from "./message";
import { NoticeView } from "./notice";
import { Sidebar } from "./sidebar";

/** The app: the chat for whoever is signed in, an invitation for everybody else. */
export function Chat() {
  const signIn = useSignIn();
  if (signIn.state === "loading") return <main className="card-page" aria-busy="true" />;
  if (signIn.state === "in") return <Room key={signIn.session.userId} session={signIn.session} />;
  return <Invitation expired={signIn.state === "expired"} />;
}

function Invitation({ expired }: { expired: boolean }) {
  return (
    <main className="card-page">
      <section className="card">
        <Logo />
        <h1>{expired ? "Your sign-in has expired" : "You are not signed in"}</h1>
        <p>{expired ? "Sign in again to go on where you were." : "A private chat with two models: one answers at once, one takes its time."}</p>
        <Link className="button primary" href="/sign-in">Sign in</Link>
      </section>
    </main>
  );
}

function Room({ session }: { session: Session }) {
  const chat = useChat(session.userId);
  const [menu, setMenu] = useState(false);
  const title = chat.conversations?.find((one) => one.id === chat.current)?.title ?? "New conversation";
  const busy = chat.phase === "waiting" || chat.phase === "streaming";
  return (
    <div className={menu ? "room menu-open" : "room"}>
      <Sidebar chat={chat} session={session} onChosen={() => setMenu(false)} />
      <button className="shade" type="button" tabIndex={-1} aria-label="Close the menu" onClick={() => setMenu(false)} />
      <main className="stage">
        <header className="bar">
          <button className="icon-button menu-button" type="button" aria-expanded={menu}
            aria-label="Conversations" onClick={() => setMenu(!menu)}>
            {menu ? <Close /> : <Menu />}
          </button>
          <h1>{title}</h1>
        </header>
        <Thread chat={chat} />
        <div className="dock">
          {chat.notice && <NoticeView notice={chat.notice} onAgain={chat.again} onDismiss={chat.dismiss} />}
          <Composer mode={chat.mode} busy={busy} onMode={chat.setMode}
            onSend={(text) => void chat.send(text)} onStop={chat.stop} />
          <p className="foot">Models make mistakes. Check what matters.</p>
        </div>
      </main>
    </div>
  );
}

function Thread({ chat }: { chat: ChatState }) {
  const box = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  useEffect(() => {
    if (follow.current) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [chat.turns, chat.phase]);
  const watch = () => {
    const { scrollHeight, scrollTop, clientHeight } = box.current!;
    follow.current = scrollHeight - scrollTop - clientHeight < 60; // reading further up: leave them there
  };
  const last = chat.turns.at(-1)?.key;
  return (
    <div className="thread" ref={box} onScroll={watch} tabIndex={0} role="log" aria-label="Conversation">
      <div className="column">
        {chat.turns.length === 0 && chat.phase === "idle" && <Greeting />}
        {chat.phase === "loading" && <p className="quiet" aria-busy="true">Loading…</p>}
        {chat.turns.map((turn) => (turn.content ? (
          <MessageView key={turn.key} turn={turn} live={chat.phase === "streaming" && turn.key === last} />
        ) : null))}
        {chat.phase === "waiting" && <Waiting thinking={chat.mode === "thinking"} />}
      </div>
    </div>
  );
}

function Greeting() {
  return (
    <div className="greeting">
      <Logo />
      <h2>What is on your mind?</h2>
      <p className="quiet">Only you can read your conversations.</p>
    </div>
  );
}

const COLD_AFTER_SECONDS = 2;

/** Until the first word comes; says why when it takes long. */
function Waiting({ thinking }: { thinking: boolean }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((before) => before + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const cold = thinking && seconds >= COLD_AFTER_SECONDS;
  return (
    <div className="waiting" role="status">
      <span className="dots" aria-hidden="true"><i /><i /><i /></span>
      <span>
        {cold ? "The thinking model is waking up. The first answer takes a little longer." : <span className="sr-only">Waiting for the answer</span>}
        {cold && <span className="quiet" aria-hidden="true"> {seconds} s</span>}
      </span>
    </div>
  );
}
