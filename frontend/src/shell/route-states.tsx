import { Link } from "@tanstack/react-router";
import { Compass } from "lucide-react";
import { buttonClass } from "@/ui/button";
import { Empty, Skeleton } from "@/ui/display";
import { ErrorState } from "@/ui/error";

export function RoutePending() {
  return (
    <div role="status" aria-label="Loading the page" className="flex flex-col gap-6">
      <Skeleton className="h-9 w-56" />
      <Skeleton className="h-28" />
      <Skeleton className="h-80" />
    </div>
  );
}

export function RouteError({ error, reset }: { error: unknown; reset: () => void }) {
  return <ErrorState error={error} retry={reset} title="This page could not be shown" />;
}

export function NotFound() {
  return (
    <main className="grid min-h-[70vh] place-items-center">
      <div>
        <h1 className="sr-only">Page not found</h1>
        <Empty
          icon={Compass}
          title="There is no page at this address"
          action={
            <Link to="/" className={buttonClass("primary")}>
              Go to the dashboard
            </Link>
          }
        />
      </div>
    </main>
  );
}
