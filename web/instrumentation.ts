import type { Instrumentation } from "next";

export async function register(): Promise<void> {
  if (process.env.NEXT_RUNTIME === "nodejs") (await import("./lib/errors-server")).start();
}

export const onRequestError: Instrumentation.onRequestError = async (error, request, context) => {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { report } = await import("./lib/errors-server");
  const path = request.path.split("?")[0] ?? "/";
  await report(error, {
    method: request.method,
    path,
    routePath: context.routePath,
    routeType: context.routeType,
  });
};
