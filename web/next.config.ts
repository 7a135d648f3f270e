import type { NextConfig } from "next";

// Pages get their Content-Security-Policy, with a nonce, from proxy.ts.
const headers = [
  { key: "X-Content-Type-Options", value: "nosniff" },
  { key: "X-Frame-Options", value: "DENY" },
  { key: "Referrer-Policy", value: "no-referrer" },
  { key: "Permissions-Policy", value: "camera=(), microphone=(), geolocation=(), payment=()" },
  { key: "Cross-Origin-Opener-Policy", value: "same-origin" },
  { key: "Cross-Origin-Resource-Policy", value: "same-origin" },
];

const config: NextConfig = {
  // A self-contained directory with a server.js: it is what is deployed, and several can stand side by side.
  output: "standalone",
  // The repository has another lock file (tools/): without these, Next takes the repository for the app.
  outputFileTracingRoot: import.meta.dirname,
  outputFileTracingExcludes: { "*": ["node_modules/@img/**", "node_modules/sharp/**"] }, // no images are resized
  turbopack: { root: import.meta.dirname },
  poweredByHeader: false,
  // Answers are streamed; a proxy in front compresses what is worth it.
  compress: false,
  reactStrictMode: true,
  productionBrowserSourceMaps: false,
  images: { unoptimized: true },
  // `npm run typecheck` is a step of its own: a deploy must not wait for it.
  typescript: { ignoreBuildErrors: true },
  devIndicators: false,
  allowedDevOrigins: ["127.0.0.1", "localhost"],
  headers: async () => [{ source: "/:path*", headers }],
};

export default config;
