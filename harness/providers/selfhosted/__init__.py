"""What a Supabase of one's own starts with, wherever it runs: roles, schemas, the front of the Data API."""
