"use client";

import { config } from "@/lib/config";
import type { Session } from "@/lib/callback";
import { signOut } from "@/lib/session";
import type { ChatState } from "@/lib/use-chat";
import { Bin, Leave, Plus } from "./icons";
import { Logo } from "./logo";

interface Props { chat: ChatState; session: Session; onChosen: () => void }

export function Sidebar({ chat, session, onChosen }: Props) {
  const name = session.email ?? "Signed in";
  return (
    <nav className="sidebar" aria-label="Conversations">
      <header className="brand">
        <Logo />
        <span>Chat</span>
        {config.NEXT_PUBLIC_ENVIRONMENT !== "production" && <span className="badge">{config.NEXT_PUBLIC_ENVIRONMENT}</span>}
      </header>
      <button className="button new" type="button" onClick={() => { chat.startNew(); onChosen(); }}>
        <Plus /> New conversation
      </button>
      <List chat={chat} onChosen={onChosen} />
      <footer className="account">
        <span className="avatar" aria-hidden="true">{name.slice(0, 1).toUpperCase()}</span>
        <span className="account-name" title={name}>{name}</span>
        <button className="icon-button" type="button" onClick={() => void signOut()} aria-label="Sign out"><Leave /></button>
      </footer>
    </nav>
  );
}

function List({ chat, onChosen }: Omit<Props, "session">) {
  if (chat.conversations === null) return <p className="list quiet" aria-busy="true">Loading…</p>;
  if (chat.conversations.length === 0) return <p className="list quiet">Your conversations will be kept here.</p>;
  return (
    <ul className="list">
      {chat.conversations.map((one) => (
        <li key={one.id} className={one.id === chat.current ? "row current" : "row"}>
          <button className="row-open" type="button" aria-current={one.id === chat.current || undefined}
            onClick={() => { void chat.open(one); onChosen(); }}>
            {one.title}
          </button>
          <button className="icon-button row-remove" type="button" aria-label={`Delete “${one.title}”`}
            onClick={() => { if (confirm(`Delete “${one.title}”?`)) void chat.remove(one.id); }}>
            <Bin />
          </button>
        </li>
      ))}
    </ul>
  );
}
