-- The ledger of token usage: what the gateway reserves before it asks an engine, and what it books after.
--
-- usage.entries is append-only and chained by hash for each user and day; usage.totals holds the running
-- sums that the limits are decided by. Neither can be changed alone without usage.audit() saying so.
-- The role `gateway` may call five functions and read nothing.

do $$
begin
  if not exists (select from pg_roles where rolname = 'gateway') then
    create role gateway nologin;
  end if;
end $$;

create schema usage;
revoke all on schema usage from public;

-- Kill switches: close one and the gateway refuses from the next request on.
create table usage.switches (
  name text primary key check (name in ('gateway', 'instant', 'thinking')),
  open boolean not null default true,
  reason text,
  changed_at timestamptz not null default now()
);
insert into usage.switches (name) values ('gateway'), ('instant'), ('thinking');

-- Running sums. scope is a user's UUID, or 'thinking' for everybody's use of the thinking model.
create table usage.totals (
  scope text not null,
  day date not null,
  used bigint not null default 0 check (used >= 0),
  held bigint not null default 0 check (held >= 0),
  chain bytea not null default '\x',
  primary key (scope, day)
);

-- Requests in flight: the worst case is held until it is settled or expires.
create table usage.reservations (
  id uuid primary key,
  user_id uuid not null,
  model text not null check (model in ('instant', 'thinking')),
  request_id text not null check (length(request_id) <= 64),
  day date not null,
  tokens integer not null check (tokens > 0),
  expires_at timestamptz not null
);
create index reservations_user on usage.reservations (user_id);
create index reservations_expiry on usage.reservations (expires_at);

create table usage.entries (
  id bigint generated always as identity primary key,
  reservation uuid not null,
  kind text not null check (kind in ('settled', 'expired')),
  user_id uuid not null,
  model text not null,
  request_id text not null,
  day date not null,
  reserved integer not null,
  prompt_tokens integer not null check (prompt_tokens >= 0),
  completion_tokens integer not null check (completion_tokens >= 0),
  outcome text not null,
  at timestamptz not null default clock_timestamp(),
  chain bytea not null,
  unique (reservation, kind)
);
create index entries_user on usage.entries (user_id, day, id);

create function usage.refuse_change() returns trigger language plpgsql set search_path = '' as $$
begin
  raise exception 'usage.entries is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete on usage.entries
  for each row execute function usage.refuse_change();
create trigger append_only_truncate before truncate on usage.entries
  for each statement execute function usage.refuse_change();

create function usage.link(
  previous bytea, reservation uuid, kind text, user_id uuid, model text, day date,
  reserved integer, prompt_tokens integer, completion_tokens integer
) returns bytea language sql immutable set search_path = '' as $$
  select sha256(previous || convert_to(
    concat_ws('|', reservation, kind, user_id, model, day, reserved, prompt_tokens, completion_tokens), 'UTF8'))
$$;

-- Lock the sums of `scopes`, always in one order, so that two callers can never wait for each other.
-- Rows are made for today alone: only reserving makes any, and it reserves for today.
create function usage.lock_totals(scopes text[], days date[]) returns void
language plpgsql volatile set search_path = '' as $$
begin
  insert into usage.totals (scope, day)
    select distinct s, d from unnest(scopes, days) as wanted (s, d)
      where d = (now() at time zone 'utc')::date order by s, d
    on conflict do nothing;
  perform 1 from usage.totals t
    where (t.scope, t.day) in (select s, d from unnest(scopes, days) as wanted (s, d))
    order by t.scope, t.day for update;
end $$;

-- Book one entry and bring the sums up to date; the caller holds the locks.
create function usage.book(
  r usage.reservations, kind text, prompt integer, completion integer, outcome text, release bigint
) returns void language plpgsql volatile set search_path = '' as $$
declare
  v_chain bytea;
begin
  update usage.totals t
    set used = t.used + prompt + completion, held = t.held - release,
        chain = usage.link(t.chain, r.id, kind, r.user_id, r.model, r.day, r.tokens, prompt, completion)
    where t.scope = r.user_id::text and t.day = r.day
    returning t.chain into strict v_chain;
  if r.model = 'thinking' then
    update usage.totals t set used = t.used + prompt + completion, held = t.held - release
      where t.scope = 'thinking' and t.day = r.day;
  end if;
  insert into usage.entries (reservation, kind, user_id, model, request_id, day, reserved,
                             prompt_tokens, completion_tokens, outcome, chain)
    values (r.id, kind, r.user_id, r.model, r.request_id, r.day, r.tokens, prompt, completion, outcome, v_chain);
end $$;

-- Reserve the worst case of each request, or say why not. One call may carry many requests; all the sums
-- that it decides by are locked first, so no two callers can spend the same tokens.
--   {"ttl": s, "user_tokens": n, "user_concurrency": n, "thinking_tokens": n,
--    "requests": [{"id", "user", "model", "tokens", "request_id"}]}
-- Answers with one word a request: ok, paused, user_concurrency, user_tokens, thinking_tokens.
create function usage.reserve(batch jsonb) returns text[]
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_day date := (now() at time zone 'utc')::date;
  v_scopes text[];
  v_closed text[];
  v_answers text[] := '{}';
  v_answer text;
  v_total bigint;
  r record;
begin
  select array_agg(s order by s) into v_scopes from (
    select x ->> 'user' as s from jsonb_array_elements(batch -> 'requests') x
    union select 'thinking' from jsonb_array_elements(batch -> 'requests') x where x ->> 'model' = 'thinking'
  ) wanted;
  if v_scopes is null then
    return v_answers;
  end if;
  -- Yesterday's sums too: around midnight two callers may see different days, and concurrency has none.
  perform usage.lock_totals(v_scopes || v_scopes,
    array_fill(v_day, array[cardinality(v_scopes)]) || array_fill(v_day - 1, array[cardinality(v_scopes)]));
  select coalesce(array_agg(name), '{}') into v_closed from usage.switches where not open;
  for r in
    select * from jsonb_to_recordset(batch -> 'requests')
      as x (id uuid, "user" uuid, model text, tokens integer, request_id text)
  loop
    v_answer := 'ok';
    select t.used + t.held into strict v_total from usage.totals t where t.scope = r.user::text and t.day = v_day;
    if 'gateway' = any (v_closed) or r.model = any (v_closed) then
      v_answer := 'paused';
    elsif (select count(*) from usage.reservations o where o.user_id = r.user and o.expires_at > now())
          >= (batch ->> 'user_concurrency')::integer then
      v_answer := 'user_concurrency';
    elsif v_total + r.tokens > (batch ->> 'user_tokens')::bigint then
      v_answer := 'user_tokens';
    elsif r.model = 'thinking' and (
        select t.used + t.held from usage.totals t where t.scope = 'thinking' and t.day = v_day
      ) + r.tokens > (batch ->> 'thinking_tokens')::bigint then
      v_answer := 'thinking_tokens';
    else
      insert into usage.reservations (id, user_id, model, request_id, day, tokens, expires_at)
        values (r.id, r.user, r.model, r.request_id, v_day, r.tokens,
                now() + make_interval(secs => (batch ->> 'ttl')::integer));
      update usage.totals t set held = t.held + r.tokens
        where t.day = v_day
          and (t.scope = r.user::text or (r.model = 'thinking' and t.scope = 'thinking'));
    end if;
    v_answers := v_answers || v_answer;
  end loop;
  return v_answers;
end $$;

-- Book what requests really used, and release what was held for them. Settling again changes nothing.
-- A reservation that has expired meanwhile is still booked: the tokens were used.
--   [{"id", "prompt", "completion", "outcome"}]; answers with the ids that nobody reserved.
create function usage.settle(batch jsonb) returns uuid[]
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_unknown uuid[] := '{}';
  v_held usage.reservations;
  v_scopes text[];
  v_days date[];
  s record;
begin
  select array_agg(scope), array_agg(day) into v_scopes, v_days from (
    with known as (
      select o.user_id, o.model, o.day from usage.reservations o
        where o.id in (select (x ->> 'id')::uuid from jsonb_array_elements(batch) x)
      union select e.user_id, e.model, e.day from usage.entries e
        where e.reservation in (select (x ->> 'id')::uuid from jsonb_array_elements(batch) x)
    )
    select user_id::text as scope, day from known
    union select 'thinking', day from known where model = 'thinking'
  ) wanted;
  perform usage.lock_totals(v_scopes, v_days);
  for s in
    select * from jsonb_to_recordset(batch) as x (id uuid, prompt integer, completion integer, outcome text)
  loop
    delete from usage.reservations o where o.id = s.id returning o.* into v_held;
    if found then
      perform usage.book(v_held, 'settled', s.prompt, s.completion, s.outcome, v_held.tokens);
    elsif not exists (select from usage.entries e where e.reservation = s.id and e.kind = 'settled') then
      select e.reservation, e.user_id, e.model, e.request_id, e.day, e.reserved, e.at into v_held
        from usage.entries e where e.reservation = s.id and e.kind = 'expired';
      if found then
        perform usage.book(v_held, 'settled', s.prompt, s.completion, 'late:' || s.outcome, 0);
      else
        v_unknown := v_unknown || s.id;
      end if;
    end if;
  end loop;
  return v_unknown;
end $$;

-- Keep the reservations of requests that still run; answers with how many there were.
create function usage.renew(ids uuid[], ttl integer) returns integer
language sql volatile security definer set search_path = '' as $$
  with renewed as (
    update usage.reservations set expires_at = now() + make_interval(secs => ttl)
      where id in (select id from usage.reservations where id = any (ids) order by id for update)
      returning 1
  )
  select count(*)::integer from renewed
$$;

-- Release what was held by requests whose gateway died; answers with how many there were.
create function usage.sweep() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_expired uuid[];
  v_scopes text[];
  v_days date[];
  v_count integer := 0;
  r usage.reservations;
begin
  select array_agg(id) into v_expired from (
    select id from usage.reservations where expires_at <= now() order by expires_at limit 1000
  ) oldest;
  if v_expired is null then
    return 0;
  end if;
  select array_agg(scope), array_agg(day) into v_scopes, v_days from (
    select user_id::text as scope, day from usage.reservations where id = any (v_expired)
    union select 'thinking', day from usage.reservations where id = any (v_expired) and model = 'thinking'
  ) wanted;
  perform usage.lock_totals(v_scopes, v_days);
  for r in
    delete from usage.reservations where id = any (v_expired) and expires_at <= now() returning *
  loop
    perform usage.book(r, 'expired', 0, 0, 'expired', r.tokens);
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- Whether the ledger answers and which switches are closed.
create function usage.ping() returns text[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(name order by name), '{}') from usage.switches where not open
$$;

-- Every place where the ledger contradicts itself; no row means none.
create function usage.audit() returns table (scope text, day date, problem text, expected text, observed text)
language plpgsql stable set search_path = '' as $$
declare
  e record;
  v_scope text := '';
  v_day date;
  v_chain bytea;
begin
  return query
    with booked as (
      select s.scope, x.day, sum(x.prompt_tokens + x.completion_tokens)::bigint as tokens
        from usage.entries x
        cross join lateral (select x.user_id::text union all select 'thinking' where x.model = 'thinking') s (scope)
        group by 1, 2
    ), held as (
      select s.scope, x.day, sum(x.tokens)::bigint as tokens
        from usage.reservations x
        cross join lateral (select x.user_id::text union all select 'thinking' where x.model = 'thinking') s (scope)
        group by 1, 2
    ), sums as (
      select coalesce(t.scope, b.scope, h.scope) as scope, coalesce(t.day, b.day, h.day) as day,
             t.used, t.held, coalesce(b.tokens, 0) as entries, coalesce(h.tokens, 0) as open
        from usage.totals t
        full join booked b on b.scope = t.scope and b.day = t.day
        full join held h on h.scope = coalesce(t.scope, b.scope) and h.day = coalesce(t.day, b.day)
    )
    select s.scope, s.day, 'used differs from the entries', s.entries::text, coalesce(s.used::text, 'no total')
      from sums s where s.used is distinct from s.entries
    union all
    select s.scope, s.day, 'held differs from the reservations', s.open::text, coalesce(s.held::text, 'no total')
      from sums s where s.held is distinct from s.open;

  for e in select * from usage.entries x order by x.user_id, x.day, x.id loop
    if e.user_id::text <> v_scope or e.day <> v_day then
      v_scope := e.user_id::text;
      v_day := e.day;
      v_chain := '\x';
    end if;
    v_chain := usage.link(v_chain, e.reservation, e.kind, e.user_id, e.model, e.day, e.reserved,
                          e.prompt_tokens, e.completion_tokens);
    if v_chain <> e.chain then
      scope := v_scope; day := v_day; problem := 'chain broken at entry ' || e.id;
      expected := encode(v_chain, 'hex'); observed := encode(e.chain, 'hex');
      return next;
      v_chain := e.chain;
    end if;
  end loop;

  return query
    select t.scope, t.day, 'chain does not end at the last entry', encode(t.chain, 'hex'),
           coalesce(encode(l.chain, 'hex'), 'no entry')
      from usage.totals t
      left join lateral (
        select x.chain from usage.entries x
          where x.user_id::text = t.scope and x.day = t.day order by x.id desc limit 1
      ) l on true
      where t.scope <> 'thinking' and t.chain <> coalesce(l.chain, '\x');
end $$;

-- What a user may see: the own sums. The schema is not exposed; row security holds all the same.
alter table usage.switches enable row level security;
alter table usage.totals enable row level security;
alter table usage.reservations enable row level security;
alter table usage.entries enable row level security;
create policy "users see their own totals" on usage.totals for select to authenticated
  using (scope = (select auth.uid())::text);

create view public.my_usage with (security_invoker = true) as
  select day, used as tokens_used, held as tokens_reserved from usage.totals
    where scope = (select auth.uid())::text;

revoke all on all tables in schema usage from public, anon, authenticated, service_role;
revoke all on all functions in schema usage from public, anon, authenticated, service_role;
revoke all on public.my_usage from public, anon, authenticated, service_role;
grant usage on schema usage to authenticated, gateway;
grant select (scope, day, used, held) on usage.totals to authenticated;
grant select on public.my_usage to authenticated;
grant execute on function usage.reserve(jsonb), usage.settle(jsonb), usage.renew(uuid[], integer),
  usage.sweep(), usage.ping() to gateway;
