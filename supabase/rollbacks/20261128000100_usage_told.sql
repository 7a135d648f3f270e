-- Reverses 20261128000100_usage_told.sql; no data is touched. A gateway that asks for less waits for the disk
-- again; what a crash of the server took away before cannot be booked any more.
create or replace function usage.reserve(batch jsonb) returns text[]
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

create or replace function usage.settle(batch jsonb) returns uuid[]
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

create or replace function usage.exchange(settlements jsonb, batch jsonb, out unknown uuid[], out answers text[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_today date := (now() at time zone 'utc')::date;
  v_scopes text[];
  v_days date[];
begin
  select array_agg(scope), array_agg(day) into v_scopes, v_days from (
    with known as (
      select o.user_id, o.model, o.day from usage.reservations o
        where o.id in (select (x ->> 'id')::uuid from jsonb_array_elements(settlements) x)
      union select e.user_id, e.model, e.day from usage.entries e
        where e.reservation in (select (x ->> 'id')::uuid from jsonb_array_elements(settlements) x)
      union select (x ->> 'user')::uuid, x ->> 'model', d
        from jsonb_array_elements(batch -> 'requests') x
        cross join (values (v_today), (v_today - 1)) days (d)
    )
    select user_id::text as scope, day from known
    union select 'thinking', day from known where model = 'thinking'
  ) wanted;
  perform usage.lock_totals(v_scopes, v_days);
  unknown := usage.settle(settlements);
  answers := usage.reserve(batch);
end $$;

drop function if exists usage.settle_locked(jsonb);
drop function if exists usage.settled_sums(jsonb);
drop function if exists usage.told(uuid, jsonb);
drop function if exists usage.lock_totals(text[], date[], boolean[]);
