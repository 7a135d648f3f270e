import { Callback } from "@/components/callback";

export const metadata = { title: "Signing in" };

export default function CallbackPage() {
  return <Callback />;
}
