"use client";

import { useCallback, useEffect, useReducer, useRef } from "react";
import { ask, ChatError, type Mode, type Trouble, type Turn } from "./chat";
import { accessToken, expire } from "./session";
import * as store from "./store";

export interface Shown extends Turn {
  key: string;
  /** Set on an answer that stopped before its end. */
  stopped?: boolean;
}

export interface Notice {
  trouble: Trouble | "store";
  text: string;
  requestId?: string | null;
  /** Milliseconds since 1970 from which trying again makes sense. */
  retryAt?: number | null;
  /** The message that can be sent again. */
  again?: string;
}

interface State {
  conversations: store.Conversation[] | null;
  current: string | null;
  turns: Shown[];
  mode: Mode;
  phase: "idle" | "loading" | "waiting" | "streaming";
  notice: Notice | null;
}

const EMPTY: State = {
  conversations: null, current: null, turns: [], mode: "instant", phase: "idle", notice: null,
};

type Action = Partial<State> | ((state: State) => Partial<State>);

function reduce(state: State, action: Action): State {
  return { ...state, ...(typeof action === "function" ? action(state) : action) };
}

const newKey = () => crypto.randomUUID();
const plain = (turns: Shown[]): Turn[] =>
  turns.filter((turn) => turn.content).map(({ role, content }) => ({ role, content }));

function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}

function noticeOf(error: unknown, again?: string): Notice {
  if (error instanceof ChatError) {
    const { trouble, message: text, requestId, retryAfter } = error;
    return { trouble, text, requestId, retryAt: retryAfter ? Date.now() + retryAfter * 1000 : null, again };
  }
  if (error instanceof store.StoreError) return { trouble: "store", text: error.message };
  return { trouble: "failed", text: "Something went wrong.", again };
}

/** The whole conversation: what is shown, and everything that a person can do to it. */
export function useChat(userId: string) {
  const [state, set] = useReducer(reduce, EMPTY);
  const abort = useRef<AbortController | null>(null);
  const latest = useRef(state);
  latest.current = state;

  const failed = useCallback((error: unknown, again?: string) => {
    if (error instanceof store.StoreError && error.expired) return expire();
    const notice = noticeOf(error, again);
    if (notice.trouble === "expired") expire();
    // that an answer failed matters more than that it was not saved
    set((now) => (notice.trouble === "store" && now.notice ? {} : { notice }));
  }, []);

  useEffect(() => {
    store.conversations().then((conversations) => set({ conversations }), (error: unknown) => {
      set({ conversations: [] });
      failed(error);
    });
    return () => abort.current?.abort();
  }, [userId, failed]);

  const open = useCallback(async (conversation: store.Conversation) => {
    abort.current?.abort();
    set({ current: conversation.id, mode: conversation.mode, turns: [], phase: "loading", notice: null });
    try {
      const saved = await store.messages(conversation.id);
      if (latest.current.current !== conversation.id) return;
      set({ turns: saved.map(({ id, ...turn }) => ({ ...turn, key: id })), phase: "idle" });
    } catch (error) {
      set({ phase: "idle" });
      failed(error);
    }
  }, [failed]);

  const startNew = useCallback(() => {
    abort.current?.abort();
    set({ current: null, turns: [], phase: "idle", notice: null });
  }, []);

  const remove = useCallback(async (id: string) => {
    try {
      await store.removeConversation(id);
      if (latest.current.current === id) startNew();
      set((now) => ({ conversations: now.conversations?.filter((one) => one.id !== id) ?? null }));
    } catch (error) {
      failed(error);
    }
  }, [failed, startNew]);

  const asked = useRef<{ text: string; saving: Promise<string | null> } | null>(null);

  const send = useCallback(async (text: string, saved: Promise<string | null> | null = null) => {
    const { turns, mode } = latest.current;
    const controller = (abort.current = new AbortController());
    const question: Shown = { key: newKey(), role: "user", content: text };
    const answer: Shown = { key: newKey(), role: "assistant", content: "" };
    set({ turns: [...turns, question, answer], phase: "waiting", notice: null });
    // what is kept goes on beside what is shown: a slow Data API must not hold back the answer
    const keep = () => save(latest.current.current, question, mode, set).catch((error: unknown) => {
      failed(error);
      return null;
    });
    // asked again: the question is there already, unless saving it failed as well
    const saving = saved ? saved.then((conversation) => conversation ?? keep()) : keep();
    asked.current = { text, saving };
    const replace = (change: Partial<Shown>) => set((now) => ({
      turns: now.turns.map((turn) => (turn.key === answer.key ? { ...turn, ...change } : turn)),
    }));
    let tokens: number | null = null;
    const show = atEachFrame((content: string) => {
      replace({ content });
      set({ phase: "streaming" });
    });
    try {
      const history = plain([...turns, question]);
      const got = await askFitting(history, mode, controller.signal, (content) => {
        answer.content = content;
        show(content);
      });
      tokens = got.tokens;
      answer.stopped = got.truncated;
    } catch (error) {
      answer.stopped = true;
      if (!controller.signal.aborted) failed(error, text);
    }
    show.stop();
    if (controller.signal.aborted && abort.current !== controller) return; // another conversation is shown now
    replace({ content: answer.content, stopped: answer.stopped });
    set({ phase: "idle" });
    if (!answer.content) {
      // nothing came: keep the question out of the history, it is offered again
      set((now) => ({ turns: now.turns.filter((turn) => turn.key !== answer.key) }));
      return;
    }
    const conversation = await saving;
    if (conversation) await store.addMessage(conversation, answer, tokens).catch(failed);
  }, [failed]);

  const again = useCallback(() => {
    const text = latest.current.notice?.again;
    if (!text) return;
    const { turns } = latest.current;
    const last = turns.findLastIndex((turn) => turn.role === "user" && turn.content === text);
    latest.current = { ...latest.current, turns: last < 0 ? turns : turns.slice(0, last) };
    void send(text, asked.current?.text === text ? asked.current.saving : null);
  }, [send]);

  return {
    ...state, open, startNew, remove, send, again,
    stop: useCallback(() => abort.current?.abort(), []),
    setMode: useCallback((mode: Mode) => set({ mode }), []),
    dismiss: useCallback(() => set({ notice: null }), []),
  };
}

export type ChatState = ReturnType<typeof useChat>;

async function save(
  current: string | null, question: Turn, mode: Mode, set: (action: Action) => void,
): Promise<string> {
  let id = current;
  if (!id) {
    const made = await store.startConversation(titleOf(question.content), mode);
    id = made.id;
    set((now) => ({ current: made.id, conversations: [made, ...(now.conversations ?? [])] }));
  }
  await store.addMessage(id, question);
  return id;
}

/** Asks; when the conversation has become too long, leaves out its older half until it fits. */
async function askFitting(history: Turn[], mode: Mode, signal: AbortSignal, onText: (text: string) => void) {
  for (let messages = history; ; messages = messages.slice(Math.ceil(messages.length / 2))) {
    try {
      return await ask({ token: await accessToken(), mode, messages, signal }, onText);
    } catch (error) {
      if (!(error instanceof ChatError) || error.trouble !== "too-long" || messages.length < 2) throw error;
    }
  }
}

/** Hands on the latest value once a frame, however often it changes. */
function atEachFrame<T>(use: (value: T) => void): ((value: T) => void) & { stop: () => void } {
  let frame = 0;
  let value: T;
  const later = (next: T) => {
    value = next;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      use(value);
    });
  };
  return Object.assign(later, { stop: () => cancelAnimationFrame(frame) });
}
