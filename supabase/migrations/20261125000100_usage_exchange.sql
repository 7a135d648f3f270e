-- Settle what was used and reserve what is asked next in one call: one commit instead of two, and a user's
-- next request does not wait for the booking of the one before.

-- All sums of both halves are locked first, in the one order of usage.lock_totals: settling and reserving one
-- after the other would lock in two rounds, and two gateways could wait for each other.
create function usage.exchange(settlements jsonb, batch jsonb, out unknown uuid[], out answers text[])
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

revoke all on function usage.exchange(jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function usage.exchange(jsonb, jsonb) to gateway;
