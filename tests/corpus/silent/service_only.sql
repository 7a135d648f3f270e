-- Tables for the service role alone: with row level security and no policy, and without any grant.
create table public.jobs (id bigint generated always as identity primary key, payload jsonb not null);
alter table public.jobs enable row level security;
create table public.secrets (name text primary key, value bytea not null);
alter table public.secrets enable row level security;
alter table public.secrets force row level security;
revoke all on public.jobs, public.secrets from anon, authenticated;
grant all on public.jobs, public.secrets to service_role;
