// How a connection is, by what really happened to it, and what to do about it.

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { CirclePause, Play, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import type { Connection, Failure } from "@/api/types";
import { count, dateTime, many } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { Button } from "@/ui/button";
import { Time } from "@/ui/display";
import { errorText } from "@/ui/error";

/** What mends a failure, by its kind. */
const MEND: Record<string, string> = {
  configuration: "Edit the connection: the source cannot be reached as it is configured.",
  authentication: "Renew its credentials with “Edit”, then sync.",
  permission: "Give its user the rights in the source, then sync.",
  rate_limited: "The source, or the connection's own limit, asks to wait. It goes on by itself.",
  transient: "If the source is down, nothing needs to be done: it is tried again by itself.",
  schema: "A stream or column is gone from the source: look at “Streams” and “Drift”.",
  data: "The source's data cannot be read: the message says where.",
  drift: "Drift waits for your decision: look at “Drift”.",
};

function Said({ failure }: { failure: Failure | null | undefined }) {
  if (!failure) return null;
  return (
    <p className="mt-1 text-sm break-words">
      {failure.message} <span className="data">{failure.code}</span>
    </p>
  );
}

export function HealthBanner({ connection }: { connection: Connection }) {
  const client = useQueryClient();
  const now = useNow();
  const { health } = connection;
  const resume = useMutation({
    mutationFn: () => calls.connections.resume(connection.id),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["connections"] });
      toast.success("The connection is synced by its schedules again");
    },
    onError: (error) =>
      toast.error("The connection could not be resumed", { description: errorText(error) }),
  });
  const waits = health.circuit && Date.parse(health.circuit.until) > now ? health.circuit : null;
  if (!health.paused && !health.warned && !waits) return null;
  const failure = health.paused?.failure ?? health.last_failure;
  const title = !health.paused
    ? health.warned
      ? `${many(health.consecutive_failures, "sync", "syncs")} failed in a row`
      : "The source failed several times and is left alone for a while"
    : health.paused.reason === "asked"
      ? "Paused: its schedules wait"
      : health.paused.reason === "refused"
        ? "Paused: the source refuses the connection"
        : "Paused: its syncs failed again and again";
  const Icon = health.paused ? CirclePause : TriangleAlert;
  return (
    <div role="status" className="rounded-xl bg-warn-soft p-4 lg:col-span-2">
      <div className="flex flex-wrap items-center gap-3">
        <p className="flex items-center gap-2 font-bold text-warn">
          <Icon aria-hidden className="size-5" /> {title}
        </p>
        {health.paused ? (
          <Button small className="ml-auto" busy={resume.isPending} onClick={() => resume.mutate()}>
            <Play aria-hidden className="size-4" /> Resume
          </Button>
        ) : null}
      </div>
      {health.paused?.reason === "asked" ? null : <Said failure={failure} />}
      <p className="mt-1 text-sm">
        {health.paused?.reason === "asked"
          ? "Sync by hand as you like, or resume it."
          : (MEND[failure?.kind ?? ""] ?? "The message says what was met.")}
        {waits ? ` The next try by itself is after ${dateTime(new Date(waits.until))}.` : ""}
        {health.paused && health.paused.reason !== "asked"
          ? " A sync that goes well resumes it, too."
          : ""}
      </p>
    </div>
  );
}

/** Lines for the list of facts. */
export function healthFacts(connection: Connection): [string, ReactNode][] {
  const { health, limits } = connection;
  const facts: [string, ReactNode][] = [
    ["Last went well", <Time key="well" at={health.last_success_at} />],
  ];
  if (health.last_failure)
    facts.push(["Last failed", <Time key="failed" at={health.last_failure_at} />]);
  if (limits.requests_per_day) {
    const today = new Date().toISOString().slice(0, 10);
    const used = health.requests?.day === today ? health.requests.requests : 0;
    facts.push(["Requests today", `${count(used)} of ${count(limits.requests_per_day)}`]);
  }
  return facts;
}
