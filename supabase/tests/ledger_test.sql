-- The ledger: what is reserved is held, what is settled is booked once, and no entry is ever changed.
begin;
select plan(22);

create function pg_temp.ask(id uuid, tokens int, model text default 'instant', budget int default 1000) returns text
language sql as $$
    select (usage.reserve(jsonb_build_object(
        'ttl', 60, 'user_tokens', budget, 'user_concurrency', 2, 'thinking_tokens', budget,
        'requests', jsonb_build_array(jsonb_build_object(
            'id', id, 'user', 'cccccccc-0000-4000-8000-00000000000c', 'model', model, 'tokens', tokens,
            'request_id', 'pgtap')))))[1]
$$;
create function pg_temp.sums(out used bigint, out held bigint) language sql as $$
    select used, held from usage.totals where scope = 'cccccccc-0000-4000-8000-00000000000c'
$$;

update usage.switches set open = true where not open;
select is(usage.ping(), '{}'::text[], 'no switch is closed');
select is(pg_temp.ask('cccccccc-0000-4000-8000-000000000001', 400), 'ok', 'a request within the budget is let in');
select results_eq('select * from pg_temp.sums()', 'values (0::bigint, 400::bigint)', 'its worst case is held');
select is(pg_temp.ask('cccccccc-0000-4000-8000-000000000002', 700), 'user_tokens', 'what would exceed it is not');
select is(pg_temp.ask('cccccccc-0000-4000-8000-000000000003', 100), 'ok', 'a second request runs beside the first');
select is(pg_temp.ask('cccccccc-0000-4000-8000-000000000004', 100), 'user_concurrency', 'a third does not');
select is(
    usage.renew(array['cccccccc-0000-4000-8000-000000000001']::uuid[], 120), 1, 'a running request is renewed');

select is(usage.settle('[{"id": "cccccccc-0000-4000-8000-000000000001", "prompt": 30, "completion": 20,
                          "outcome": "ok"}]'), '{}'::uuid[], 'it settles');
select results_eq('select * from pg_temp.sums()', 'values (50::bigint, 100::bigint)', 'what it used is booked');
select is(usage.settle('[{"id": "cccccccc-0000-4000-8000-000000000001", "prompt": 30, "completion": 20,
                          "outcome": "ok"}]'), '{}'::uuid[], 'settling again');
select results_eq('select * from pg_temp.sums()', 'values (50::bigint, 100::bigint)', 'changes nothing');
select is(usage.settle('[{"id": "cccccccc-0000-4000-8000-00000000ffff", "prompt": 1, "completion": 1,
                          "outcome": "ok"}]'), array['cccccccc-0000-4000-8000-00000000ffff'::uuid],
          'what nobody reserved is named');
select is(usage.settle(jsonb_build_array(jsonb_build_object(
            'id', 'cccccccc-0000-4000-8000-00000000fffe', 'prompt', 1, 'completion', 1, 'outcome', 'ok', 'held',
            jsonb_build_object('user', 'cccccccc-0000-4000-8000-00000000000c', 'model', 'instant', 'tokens', 9,
                               'request_id', 'pgtap', 'day', (now() at time zone 'utc')::date)))),
          '{}'::uuid[], 'what was lost is booked from what its settlement tells');
select results_eq('select * from pg_temp.sums()', 'values (52::bigint, 100::bigint)', 'and releases nothing');

update usage.reservations set expires_at = now() - interval '1 minute'
    where id = 'cccccccc-0000-4000-8000-000000000003';
select cmp_ok(usage.sweep(), '>=', 1, 'what a dead gateway held is released');
select results_eq('select * from pg_temp.sums()', 'values (52::bigint, 0::bigint)', 'and nothing booked for it');

select throws_ok('update usage.entries set prompt_tokens = 0', '42501', null, 'no entry is changed');
select throws_ok('delete from usage.entries', '42501', null, 'no entry is deleted');
-- Seen in the catalog, not tried: truncate would wait for everybody who uses the table, and they for it.
select has_trigger('usage', 'entries', 'append_only_truncate', 'the entries are not emptied');
select is_empty($$ select * from usage.audit() where scope = 'cccccccc-0000-4000-8000-00000000000c' $$,
                'the ledger does not contradict itself');

update usage.totals set used = used - 10 where scope = 'cccccccc-0000-4000-8000-00000000000c';
select isnt_empty($$ select * from usage.audit() where scope = 'cccccccc-0000-4000-8000-00000000000c' $$,
                  'a sum that is changed alone is noticed');
update usage.switches set open = false where name = 'instant';
select is(pg_temp.ask('cccccccc-0000-4000-8000-000000000005', 1), 'paused', 'a closed switch lets nothing in');
select * from finish();
rollback;
