-- Reverses 20261128000200_usage_reserve.sql; no data is touched. Reserving costs more again.
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
