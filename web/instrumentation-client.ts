import { BrowserClient, dedupeIntegration, defaultStackParser, functionToStringIntegration, getCurrentScope,
  globalHandlersIntegration, linkedErrorsIntegration, makeFetchTransport } from "@sentry/browser";
import { config } from "@/lib/config";
import { scrubEvent } from "@/lib/scrub";

// Named integrations rather than Sentry.init: no breadcrumbs (they would hold what people type), half the size.
if (config.NEXT_PUBLIC_SENTRY_DSN) {
  const client = new BrowserClient({
    dsn: config.NEXT_PUBLIC_SENTRY_DSN,
    environment: config.NEXT_PUBLIC_ENVIRONMENT,
    release: config.NEXT_PUBLIC_RELEASE,
    transport: makeFetchTransport,
    stackParser: defaultStackParser,
    integrations: [
      globalHandlersIntegration(),
      functionToStringIntegration(),
      linkedErrorsIntegration(),
      dedupeIntegration(),
    ],
    sendDefaultPii: false,
    sendClientReports: false,
    beforeSend: scrubEvent,
  });
  getCurrentScope().setClient(client);
  getCurrentScope().setTag("runtime", "browser");
  client.init();
}
