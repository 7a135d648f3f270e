import * as Sentry from "@sentry/node-core/light";
import { config } from "./config";
import { scrubEvent } from "./scrub";

/** Start reporting errors of the server; once, when it starts. */
export function start(): void {
  Sentry.init({
    dsn: config.NEXT_PUBLIC_SENTRY_DSN,
    environment: config.NEXT_PUBLIC_ENVIRONMENT,
    release: config.NEXT_PUBLIC_RELEASE,
    enabled: Boolean(config.NEXT_PUBLIC_SENTRY_DSN),
    sendDefaultPii: false,
    sendClientReports: false,
    // named one by one: the others would collect request data, console output and sessions
    defaultIntegrations: false,
    integrations: [
      Sentry.functionToStringIntegration(),
      Sentry.linkedErrorsIntegration(),
      Sentry.onUncaughtExceptionIntegration(),
      Sentry.onUnhandledRejectionIntegration(),
      Sentry.nodeContextIntegration(),
    ],
    beforeSend: scrubEvent,
  });
}

interface Where {
  method: string;
  path: string;
  routePath: string;
  routeType: string;
}

/** Report an error that a route threw. */
export async function report(error: unknown, where: Where): Promise<void> {
  Sentry.withScope((scope) => {
    scope.setTags({ runtime: "server", route: where.routePath, kind: where.routeType });
    scope.setTransactionName(`${where.method} ${where.routePath}`);
    Sentry.captureException(error, { mechanism: { handled: false, type: "onRequestError" } });
  });
  await Sentry.flush(2000); // on a serverless host the process may be frozen as soon as we return
}
