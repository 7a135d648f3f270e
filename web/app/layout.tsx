import type { Metadata, Viewport } from "next";
import { connection } from "next/server";
import type { ReactNode } from "react";
import { config } from "@/lib/config";
import "./globals.css";

export const metadata: Metadata = {
  title: "Chat",
  description: "A private chat with an instant and a thinking model",
  robots: { index: false, follow: false },
};

export const viewport: Viewport = {
  width: "device-width",
  initialScale: 1,
  themeColor: [
    { media: "(prefers-color-scheme: light)", color: "#faf9f7" },
    { media: "(prefers-color-scheme: dark)", color: "#171614" },
  ],
};

export default async function Layout({ children }: { children: ReactNode }) {
  await connection(); // rendered per request: the page carries the nonce of its Content-Security-Policy
  return (
    <html lang="en" data-environment={config.NEXT_PUBLIC_ENVIRONMENT} data-release={config.NEXT_PUBLIC_RELEASE}>
      <body>{children}</body>
    </html>
  );
}
