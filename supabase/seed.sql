-- Demo data for a stack of one's own; idempotent. Never for a hosted project: `supabase db push` leaves it
-- out unless told otherwise, and the two users below have a password that everybody can read here.
-- The UUIDs are those that harness/identity.py gives to the names alice and bob.

insert into auth.users (
    instance_id, id, aud, role, email, encrypted_password, email_confirmed_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at
)
select
    '00000000-0000-0000-0000-000000000000', people.id, 'authenticated', 'authenticated', people.email,
    extensions.crypt('demo-of-the-chat-stack-1', extensions.gen_salt('bf', 6)), now(),
    '{"provider": "email", "providers": ["email"]}'::jsonb,
    jsonb_build_object('display_name', people.display_name), now(), now()
from (
    values
        ('d83dfde8-8883-50d3-8ad9-4a1172795e05'::uuid, 'alice@chat-stack.test', 'Alice'),
        ('cdb1c2ee-5c2f-5ae8-ae5c-b931bd2f34f4'::uuid, 'bob@chat-stack.test', 'Bob')
) as people (id, email, display_name)
on conflict (id) do nothing;

insert into auth.identities (provider_id, user_id, identity_data, provider, created_at, updated_at)
select
    id::text, id, jsonb_build_object('sub', id::text, 'email', email, 'email_verified', true), 'email',
    now(), now()
from auth.users
where email in ('alice@chat-stack.test', 'bob@chat-stack.test')
on conflict (provider_id, provider) do nothing;

insert into public.conversations (id, owner_id, title, mode)
values
    ('0a11ce00-0000-4000-8000-000000000001', 'd83dfde8-8883-50d3-8ad9-4a1172795e05',
     'What can you do?', 'instant'),
    ('0b0b0000-0000-4000-8000-000000000001', 'cdb1c2ee-5c2f-5ae8-ae5c-b931bd2f34f4',
     'A longer thought', 'thinking')
on conflict (id) do nothing;

insert into public.messages (id, conversation_id, owner_id, role, content, tokens, created_at)
values
    ('0a11ce00-0000-4000-8000-000000000011', '0a11ce00-0000-4000-8000-000000000001',
     'd83dfde8-8883-50d3-8ad9-4a1172795e05', 'user', 'What can you do?', 5, now() - interval '2 minutes'),
    ('0a11ce00-0000-4000-8000-000000000012', '0a11ce00-0000-4000-8000-000000000001',
     'd83dfde8-8883-50d3-8ad9-4a1172795e05', 'assistant',
     'I answer at once in instant mode, and take my time in thinking mode.', 15,
     now() - interval '1 minute'),
    ('0b0b0000-0000-4000-8000-000000000011', '0b0b0000-0000-4000-8000-000000000001',
     'cdb1c2ee-5c2f-5ae8-ae5c-b931bd2f34f4', 'user', 'Why is the sky blue?', 6, now() - interval '1 minute')
on conflict (id) do nothing;
