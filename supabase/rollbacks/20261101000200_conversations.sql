drop table public.conversations;
drop function public.touch_updated_at();
