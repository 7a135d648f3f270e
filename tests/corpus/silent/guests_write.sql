-- A contact form: anybody may write, nobody may read; and a waiting list behind a function.
create table public.contact (id bigint generated always as identity primary key, email text not null, text text not null);
alter table public.contact enable row level security;
create policy write on public.contact for insert to anon, authenticated with check (char_length(text) < 5000);
revoke all on public.contact from anon, authenticated;
grant insert on public.contact to anon, authenticated;
create table public.waiting (email text primary key);
alter table public.waiting enable row level security;
revoke all on public.waiting from anon, authenticated;
create function public.join_waiting(address text) returns void language sql security definer set search_path = '' as
$$ insert into public.waiting values (address) on conflict do nothing $$;
revoke all on function public.join_waiting(text) from public;
grant execute on function public.join_waiting(text) to anon, authenticated;
