-- Reverses 20261125000100_usage_exchange.sql; no data is touched.
drop function if exists usage.exchange(jsonb, jsonb);
