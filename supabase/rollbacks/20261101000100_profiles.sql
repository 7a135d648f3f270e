drop trigger create_profile on auth.users;
drop function public.create_profile();
drop table public.profiles;
