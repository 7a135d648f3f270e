import { createClient, type PostgrestError, type SupabaseClient } from "@supabase/supabase-js";
import type { Mode, Turn } from "./chat";
import { required } from "./config";
import { accessToken } from "./session";

/** Conversations and messages, through the Data API; row-level security shows everybody their own. */

export interface Conversation { id: string; title: string; mode: Mode; updated_at: string }
export interface Message extends Turn { id: string }

let client: SupabaseClient | undefined;

function data(): SupabaseClient {
  client ??= createClient(required("NEXT_PUBLIC_SUPABASE_URL"), required("NEXT_PUBLIC_SUPABASE_ANON_KEY"), {
    accessToken,
  });
  return client;
}

/** The Data API refused or could not be reached. */
export class StoreError extends Error {
  constructor(what: string, readonly expired: boolean, cause: PostgrestError) {
    super(what, { cause });
    this.name = "StoreError";
  }
}

function taken<T>(what: string, result: { data: T; error: PostgrestError | null; status: number }): NonNullable<T> {
  if (result.error) throw new StoreError(what, result.status === 401, result.error);
  return result.data as NonNullable<T>;
}

const COLUMNS = "id, title, mode, updated_at";

export async function conversations(): Promise<Conversation[]> {
  const rows = data().from("conversations").select(COLUMNS).order("updated_at", { ascending: false }).limit(100);
  return taken("Your conversations could not be loaded.", await rows) as Conversation[];
}

export async function startConversation(title: string, mode: Mode): Promise<Conversation> {
  const row = data().from("conversations").insert({ title, mode }).select(COLUMNS).single();
  return taken("The conversation could not be saved.", await row) as Conversation;
}

export async function removeConversation(id: string): Promise<void> {
  taken("The conversation could not be deleted.", await data().from("conversations").delete().eq("id", id).select("id"));
}

export async function messages(conversation: string): Promise<Message[]> {
  const rows = data().from("messages").select("id, role, content").eq("conversation_id", conversation)
    .order("created_at").limit(500);
  return taken("This conversation could not be loaded.", await rows) as Message[];
}

export async function addMessage(
  conversation: string, { role, content }: Turn, tokens: number | null = null,
): Promise<Message> {
  const row = { conversation_id: conversation, role, content, tokens };
  const saved = await data().from("messages").insert(row).select("id, role, content").single();
  return taken("The message could not be saved.", saved) as Message;
}
