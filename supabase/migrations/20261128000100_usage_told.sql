-- A reservation need not wait for the disk: its settlement says what was reserved, and is booked even if a
-- crash of the server has taken the reservation away.
--
-- Who reserves says so ("durable": false) and then settles with "held": the user, the model, the tokens, the
-- request's id and the day of the reservation. Who says neither gets what there was before: a reservation that
-- is on the disk when it is granted.

-- Lock the sums of `scopes` as usage.lock_totals(text[], date[]) does. Where `lost`, a row may have gone with
-- the reservation that had made it, and is made anew, whichever day it is for. All that are made are made
-- in one statement and in one order: two callers who each wait for a row of the other would wait for ever.
create function usage.lock_totals(scopes text[], days date[], lost boolean[]) returns void
language plpgsql volatile set search_path = '' as $$
begin
  insert into usage.totals (scope, day)
    select distinct s, d from unnest(scopes, days, lost) as wanted (s, d, l)
      where l or d = (now() at time zone 'utc')::date order by s, d
    on conflict do nothing;
  perform usage.lock_totals(scopes, days);
end $$;

-- The reservation `id` as its settlement tells it. It was made today or, around midnight, yesterday; a
-- gateway's clock may be wrong.
create function usage.told(id uuid, held jsonb) returns usage.reservations
language plpgsql stable set search_path = '' as $$
declare
  v_today date := (now() at time zone 'utc')::date;
  v_told usage.reservations;
begin
  v_told := (id, (held ->> 'user')::uuid, held ->> 'model', held ->> 'request_id',
             least(greatest((held ->> 'day')::date, v_today - 1), v_today), (held ->> 'tokens')::integer, now());
  if v_told.user_id is null or v_told.model is null or v_told.model not in ('instant', 'thinking')
     or v_told.request_id is null or v_told.tokens is null or held ->> 'day' is null then
    raise exception 'a settlement does not tell what was reserved' using errcode = 'invalid_parameter_value';
  end if;
  return v_told;
end $$;

-- The sums that settling `settlements` changes. `lost`: nothing is known of the reservation but what its
-- settlement tells.
create function usage.settled_sums(settlements jsonb) returns table (scope text, day date, lost boolean)
language plpgsql stable set search_path = '' as $$
begin
  return query
    with asked as materialized (
      select (x ->> 'id')::uuid as id, x -> 'held' as held from jsonb_array_elements(settlements) x
    ), known as (
      select o.id, o.user_id, o.model, o.day from usage.reservations o where o.id in (select a.id from asked a)
      union select e.reservation, e.user_id, e.model, e.day from usage.entries e
        where e.reservation in (select a.id from asked a)
    ), sums as (
      select k.user_id, k.model, k.day, false as lost from known k
      union select t.user_id, t.model, t.day, true from asked a cross join lateral usage.told(a.id, a.held) t
        where jsonb_typeof(a.held) = 'object' and a.id not in (select k.id from known k)
    )
    select u.user_id::text, u.day, u.lost from sums u
    union select 'thinking', u.day, u.lost from sums u where u.model = 'thinking';
end $$;

-- Book `batch` as usage.settle describes; the caller holds the locks on its sums.
create function usage.settle_locked(batch jsonb) returns uuid[]
language plpgsql volatile set search_path = '' as $$
declare
  v_unknown uuid[] := '{}';
  v_held usage.reservations;
  s record;
begin
  for s in
    select * from jsonb_to_recordset(batch)
      as x (id uuid, prompt integer, completion integer, outcome text, held jsonb)
  loop
    delete from usage.reservations o where o.id = s.id returning o.* into v_held;
    if found then
      perform usage.book(v_held, 'settled', s.prompt, s.completion, s.outcome, v_held.tokens);
    elsif not exists (select from usage.entries e where e.reservation = s.id and e.kind = 'settled') then
      select e.reservation, e.user_id, e.model, e.request_id, e.day, e.reserved, e.at into v_held
        from usage.entries e where e.reservation = s.id and e.kind = 'expired';
      if found then
        perform usage.book(v_held, 'settled', s.prompt, s.completion, 'late:' || s.outcome, 0);
      elsif jsonb_typeof(s.held) = 'object' then
        v_held := usage.told(s.id, s.held);
        perform usage.book(v_held, 'settled', s.prompt, s.completion, 'lost:' || s.outcome, 0);
      else
        v_unknown := v_unknown || s.id;
      end if;
    end if;
  end loop;
  return v_unknown;
end $$;

-- Book what requests really used, and release what was held for them. Settling again changes nothing.
-- A reservation that has expired meanwhile is still booked: the tokens were used; so is one that is lost.
--   [{"id", "prompt", "completion", "outcome",
--     "held": {"user", "model", "tokens", "request_id", "day"}, which may be left out}]
-- Answers with the ids that nobody reserved, as far as anybody tells.
create or replace function usage.settle(batch jsonb) returns uuid[]
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_scopes text[];
  v_days date[];
  v_lost boolean[];
begin
  select array_agg(c.scope), array_agg(c.day), array_agg(c.lost) into v_scopes, v_days, v_lost
    from usage.settled_sums(batch) c;
  perform usage.lock_totals(v_scopes, v_days, v_lost);
  return usage.settle_locked(batch);
end $$;

-- Reserve the worst case of each request, or say why not. One call may carry many requests; all the sums
-- that it decides by are locked first, so no two callers can spend the same tokens.
--   {"ttl": s, "user_tokens": n, "user_concurrency": n, "thinking_tokens": n, "durable": b,
--    "requests": [{"id", "user", "model", "tokens", "request_id"}]}
-- With "durable": false the caller does not wait for the disk, and settles with "held".
-- Answers with one word a request: ok, paused, user_concurrency, user_tokens, thinking_tokens.
create or replace function usage.reserve(batch jsonb) returns text[]
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_day date := (now() at time zone 'utc')::date;
  v_scopes text[];
  v_closed text[];
  v_answers text[] := '{}';
  v_answer text;
  v_total bigint;
  v_everybodys bigint;
  r record;
begin
  if batch -> 'durable' = 'false' then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  select array_agg(distinct s) into v_scopes
    from jsonb_array_elements(batch -> 'requests') x
    cross join lateral (values (x ->> 'user'), (case x ->> 'model' when 'thinking' then 'thinking' end)) wanted (s)
    where s is not null;
  if v_scopes is null then
    return v_answers;
  end if;
  -- As usage.lock_totals does, whose call would cost as much again: everybody waits for this one.
  -- Yesterday's sums too: around midnight two callers may see different days, and concurrency has none.
  insert into usage.totals (scope, day) select s, v_day from unnest(v_scopes) s order by s on conflict do nothing;
  perform 1 from usage.totals t where t.scope = any (v_scopes) and t.day in (v_day - 1, v_day)
    order by t.scope, t.day for update;
  select coalesce(array_agg(name), '{}') into v_closed from usage.switches where not open;
  for r in
    select * from jsonb_to_recordset(batch -> 'requests')
      as x (id uuid, "user" uuid, model text, tokens integer, request_id text)
  loop
    v_answer := 'ok';
    select t.used + t.held into strict v_total from usage.totals t where t.scope = r.user::text and t.day = v_day;
    if r.model = 'thinking' then
      select t.used + t.held into strict v_everybodys from usage.totals t where t.scope = 'thinking' and t.day = v_day;
    end if;
    if 'gateway' = any (v_closed) or r.model = any (v_closed) then
      v_answer := 'paused';
    elsif (select count(*) from usage.reservations o where o.user_id = r.user and o.expires_at > now())
          >= (batch ->> 'user_concurrency')::integer then
      v_answer := 'user_concurrency';
    elsif v_total + r.tokens > (batch ->> 'user_tokens')::bigint then
      v_answer := 'user_tokens';
    elsif r.model = 'thinking' and v_everybodys + r.tokens > (batch ->> 'thinking_tokens')::bigint then
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

-- Settle and reserve in one commit, which is durable whatever the batch says: it books.
create or replace function usage.exchange(settlements jsonb, batch jsonb, out unknown uuid[], out answers text[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_today date := (now() at time zone 'utc')::date;
  v_scopes text[];
  v_days date[];
  v_lost boolean[];
begin
  select array_agg(scope), array_agg(day), array_agg(lost) into v_scopes, v_days, v_lost from (
    with asked as (
      select x ->> 'user' as scope, x ->> 'model' as model, d as day
        from jsonb_array_elements(batch -> 'requests') x
        cross join (values (v_today), (v_today - 1)) days (d)
    )
    select c.scope, c.day, c.lost from usage.settled_sums(settlements) c
    union select (a.scope::uuid)::text, a.day, false from asked a
    union select 'thinking', a.day, false from asked a where a.model = 'thinking'
  ) wanted;
  perform usage.lock_totals(v_scopes, v_days, v_lost);
  unknown := usage.settle_locked(settlements);
  answers := usage.reserve(batch - 'durable');
end $$;

revoke all on function usage.lock_totals(text[], date[], boolean[]), usage.told(uuid, jsonb),
  usage.settled_sums(jsonb), usage.settle_locked(jsonb) from public, anon, authenticated, service_role;
