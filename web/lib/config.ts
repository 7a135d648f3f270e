/**
 * What the build was told about its environment. Next replaces each `process.env.NEXT_PUBLIC_*` by its value
 * at build time; the names are kept as keys so that the values can be read back from the served scripts.
 */
export const config = Object.freeze({
  NEXT_PUBLIC_ENVIRONMENT: process.env.NEXT_PUBLIC_ENVIRONMENT,
  NEXT_PUBLIC_RELEASE: process.env.NEXT_PUBLIC_RELEASE,
  NEXT_PUBLIC_SITE_URL: process.env.NEXT_PUBLIC_SITE_URL,
  NEXT_PUBLIC_SUPABASE_URL: process.env.NEXT_PUBLIC_SUPABASE_URL,
  NEXT_PUBLIC_SUPABASE_ANON_KEY: process.env.NEXT_PUBLIC_SUPABASE_ANON_KEY,
  NEXT_PUBLIC_SENTRY_DSN: process.env.NEXT_PUBLIC_SENTRY_DSN,
  NEXT_PUBLIC_AUTH: process.env.NEXT_PUBLIC_AUTH,
});

export type PublicName = keyof typeof config;

/** The value of a variable that the app cannot work without. */
export function required(name: PublicName): string {
  const value = config[name];
  if (!value) throw new Error(`this build was made without ${name}`);
  return value;
}
