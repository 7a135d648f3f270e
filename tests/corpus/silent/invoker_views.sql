-- Views that read with their caller's rights, one on another; and one that is meant to be public.
create table public.posts (
    id uuid primary key default gen_random_uuid(), author uuid not null references auth.users,
    title text not null, published boolean not null default false
);
alter table public.posts enable row level security;
create policy own on public.posts for all to authenticated using (author = auth.uid()) with check (author = auth.uid());
create policy published on public.posts for select to anon, authenticated using (published);
create view public.all_posts with (security_invoker = on) as select * from public.posts;
create view public.titles with (security_invoker = true) as select id, author, title, published from public.all_posts;
create view public.post_count as select count(*) as posts from public.posts where published;
revoke all on all tables in schema public from anon, authenticated;
grant select, insert, update, delete on public.posts to authenticated;
grant select on public.posts, public.all_posts, public.titles, public.post_count to anon, authenticated;
