drop table public.messages;
drop function public.touch_conversation();
