-- Reserving, which every request waits for, in half as many statements: same locks in the same order, same answers.

-- Reserve the worst case of each request, or say why not. One call may carry many requests; all the sums
-- that it decides by are locked first, so no two callers can spend the same tokens.
--   {"ttl": s, "user_tokens": n, "user_concurrency": n, "thinking_tokens": n, "durable": b,
--    "requests": [{"id", "user", "model", "tokens", "request_id"}]}
-- With "durable": false the caller does not wait for the disk, and settles with "held".
-- Answers with one word a request: ok, paused, user_concurrency, user_tokens, thinking_tokens.
--
-- What can be an expression is none of the statements, which cost many times as much. Plans go by an index alone:
-- reservations come and go, and whatever else would visit all that were released since the last vacuum, at every call;
-- a table that was empty when it was analysed is read whole, however many have gone through it since.
create or replace function usage.reserve(batch jsonb) returns text[]
language plpgsql volatile security definer
set search_path = '' set enable_bitmapscan = off set enable_seqscan = off as $$
declare
  v_day date := (now() at time zone 'utc')::date;
  v_last integer := coalesce(jsonb_array_length(batch -> 'requests'), 0) - 1;
  v_scopes text[] := '{}';
  v_sums jsonb;
  v_answers text[] := '{}';
  v_answer text;
  v_request jsonb;
  v_user uuid;
  v_model text;
  v_tokens integer;
  v_count bigint;
  v_paused boolean;
begin
  if batch -> 'durable' = 'false' then
    v_answer := set_config('synchronous_commit', 'off', true);
  end if;
  for i in 0 .. v_last loop
    v_user := batch -> 'requests' -> i ->> 'user';
    if v_user::text <> all (v_scopes) then
      v_scopes := v_scopes || v_user::text;
    end if;
    if batch -> 'requests' -> i ->> 'model' = 'thinking' and 'thinking' <> all (v_scopes) then
      v_scopes := v_scopes || 'thinking'::text;
    end if;
  end loop;
  -- As usage.lock_totals does, whose call would cost as much again. Sums are never deleted: who sees them all
  -- has none to make, and who makes some does so before it locks any, in one order.
  select count(*) into v_count from usage.totals t where t.scope = any (v_scopes) and t.day = v_day;
  if v_count < cardinality(v_scopes) then
    insert into usage.totals (scope, day) select s, v_day from unnest(v_scopes) s order by s on conflict do nothing;
  end if;
  -- Yesterday's sums too: around midnight two callers may see different days, and concurrency has none.
  select jsonb_object_agg(l.scope, l.total) filter (where l.day = v_day) into v_sums from (
    select t.scope, t.day, t.used + t.held as total from usage.totals t
      where t.scope = any (v_scopes) and t.day in (v_day - 1, v_day)
      order by t.scope, t.day for update
  ) l;
  for i in 0 .. v_last loop
    v_request := batch -> 'requests' -> i;
    v_user := v_request ->> 'user';
    v_model := v_request ->> 'model';
    v_tokens := v_request ->> 'tokens';
    -- A statement of its own, after the locks: it sees what those who held them have done.
    select (select count(*) from usage.reservations o where o.user_id = v_user and o.expires_at > now()),
           exists (select from usage.switches s where not s.open and s.name in ('gateway', v_model))
      into v_count, v_paused;
    v_answer := case
      when v_paused then 'paused'
      when v_count >= (batch ->> 'user_concurrency')::integer then 'user_concurrency'
      when (v_sums ->> v_user::text)::bigint + v_tokens > (batch ->> 'user_tokens')::bigint then 'user_tokens'
      when v_model = 'thinking' and (v_sums ->> 'thinking')::bigint + v_tokens > (batch ->> 'thinking_tokens')::bigint
        then 'thinking_tokens'
      else 'ok' end;
    if v_answer = 'ok' then
      with held as (
        insert into usage.reservations (id, user_id, model, request_id, day, tokens, expires_at)
          values ((v_request ->> 'id')::uuid, v_user, v_model, v_request ->> 'request_id', v_day, v_tokens,
                  now() + make_interval(secs => (batch ->> 'ttl')::integer))
      )
      update usage.totals t set held = t.held + v_tokens
        where t.day = v_day and t.scope in (v_user::text, case v_model when 'thinking' then 'thinking' end);
      v_sums := v_sums || jsonb_build_object(v_user::text, (v_sums ->> v_user::text)::bigint + v_tokens);
      if v_model = 'thinking' then
        v_sums := v_sums || jsonb_build_object('thinking', (v_sums ->> 'thinking')::bigint + v_tokens);
      end if;
    end if;
    v_answers := v_answers || v_answer;
  end loop;
  return v_answers;
end $$;
