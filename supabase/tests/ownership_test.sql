-- What is mine is nobody else's: each table as its owner, as another user, and as a visitor.
begin;
select plan(22);

insert into auth.users (instance_id, id, aud, role, email) values
    ('00000000-0000-0000-0000-000000000000', 'aaaaaaaa-0000-4000-8000-00000000000a', 'authenticated',
     'authenticated', 'owner@test.invalid'),
    ('00000000-0000-0000-0000-000000000000', 'bbbbbbbb-0000-4000-8000-00000000000b', 'authenticated',
     'authenticated', 'other@test.invalid');
select results_eq(
    $$ select count(*)::int from public.profiles where id in ('aaaaaaaa-0000-4000-8000-00000000000a',
       'bbbbbbbb-0000-4000-8000-00000000000b') $$, array[2], 'a new user gets a profile');

set local role authenticated;
set local request.jwt.claims = '{"sub": "aaaaaaaa-0000-4000-8000-00000000000a", "role": "authenticated"}';
select lives_ok(
    $$ insert into public.conversations (id, title) values ('aaaaaaaa-0000-4000-8000-0000000000c1', 'mine') $$,
    'the owner begins a conversation');
select lives_ok(
    $$ insert into public.messages (conversation_id, role, content)
       values ('aaaaaaaa-0000-4000-8000-0000000000c1', 'user', 'hello') $$, 'and writes into it');
select lives_ok(
    $$ insert into public.attachments (conversation_id, path, size_bytes, mime_type) values
       ('aaaaaaaa-0000-4000-8000-0000000000c1', 'aaaaaaaa-0000-4000-8000-00000000000a/a.txt', 1, 'text/plain') $$,
    'and attaches a file');
select isnt_empty('select 1 from public.conversations', 'the owner sees the conversation');
select isnt_empty('select 1 from public.messages', 'the owner sees the message');
select isnt_empty('select 1 from public.attachments', 'the owner sees the attachment');
select throws_ok(
    $$ insert into public.attachments (conversation_id, path, size_bytes, mime_type) values
       ('aaaaaaaa-0000-4000-8000-0000000000c1', 'bbbbbbbb-0000-4000-8000-00000000000b/a.txt', 1, 'text/plain') $$,
    '23514', null, 'no attachment in another user''s folder');
select throws_ok(
    $$ insert into public.conversations (owner_id) values ('bbbbbbbb-0000-4000-8000-00000000000b') $$,
    '42501', null, 'no conversation in another user''s name');
select throws_ok(
    $$ update public.conversations set owner_id = 'bbbbbbbb-0000-4000-8000-00000000000b' where true $$,
    '42501', null, 'no conversation given away');

set local request.jwt.claims = '{"sub": "bbbbbbbb-0000-4000-8000-00000000000b", "role": "authenticated"}';
select is_empty('select 1 from public.conversations', 'another user sees no conversation');
select is_empty('select 1 from public.messages', 'another user sees no message');
select is_empty('select 1 from public.attachments', 'another user sees no attachment');
select is_empty(
    $$ select 1 from public.profiles where id = 'aaaaaaaa-0000-4000-8000-00000000000a' $$,
    'another user sees no profile');
select is_empty('update public.conversations set title = ''taken'' where true returning 1', 'and changes none');
select is_empty('delete from public.messages where true returning 1', 'and deletes none');
select throws_ok(
    $$ insert into public.messages (conversation_id, owner_id, role, content) values
       ('aaaaaaaa-0000-4000-8000-0000000000c1', 'bbbbbbbb-0000-4000-8000-00000000000b', 'user', 'intruder') $$,
    null, null, 'and writes into no conversation of the owner');

set local request.jwt.claims = '{}';
select is_empty('select 1 from public.conversations', 'without a user in the token nothing is seen');

set local role anon;
select throws_ok('select 1 from public.conversations', '42501', null, 'a visitor may not ask for conversations');
select throws_ok('select 1 from public.profiles', '42501', null, 'nor for profiles');
select throws_ok('select 1 from public.my_usage', '42501', null, 'nor for usage');

reset role;
select results_eq(
    $$ select title from public.conversations where id = 'aaaaaaaa-0000-4000-8000-0000000000c1' $$,
    array['mine'], 'after all that the conversation is as its owner made it');
select * from finish();
rollback;
