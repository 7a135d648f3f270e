"""Supabase on a machine of one's own: PostgreSQL, PostgREST and the Data API's front under systemd."""
