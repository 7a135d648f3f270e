-- Reverses 20261101000500_usage_ledger.sql. The bookings are lost: dump the schema `usage` first.
drop view if exists public.my_usage;
drop schema if exists usage cascade;
-- The role stays where it may still own a login of another database; without grants it can do nothing.
do $$
begin
  if exists (select from pg_roles where rolname = 'gateway') then
    drop role gateway;
  end if;
exception
  when dependent_objects_still_exist or insufficient_privilege then
    raise notice 'the role gateway is still in use and was kept';
end $$;
