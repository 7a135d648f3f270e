import { SignIn } from "@/components/sign-in";

export const metadata = { title: "Sign in" };

export default function SignInPage() {
  return <SignIn />;
}
