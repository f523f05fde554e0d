import { RefreshCw, TriangleAlert } from "lucide-react";
import { ApiError } from "@/api/error";
import { dateTime } from "@/lib/format";
import { Button } from "./button";
import { CopyButton } from "./display";

export function errorText(error: unknown): string {
  if (error instanceof ApiError) return error.detail ?? error.title;
  return error instanceof Error ? error.message : String(error);
}

/** Cause, what was tried, what to do next, trace id, copy. */
export function ErrorState({
  error,
  retry,
  title,
}: {
  error: unknown;
  retry?: () => void;
  title?: string;
}) {
  const api = error instanceof ApiError ? error : null;
  const facts: [string, string][] = [["Cause", errorText(error)]];
  if (api) {
    facts.push(["Tried", `${api.tried}, ${dateTime(api.at)}`], ["Next", api.next]);
    for (const field of api.fields) facts.push(["At", `${field.pointer}: ${field.message}`]);
    if (api.code) facts.push(["Code", api.code]);
    if (api.traceId) facts.push(["Trace id", api.traceId]);
  } else facts.push(["Next", "Reload the page; if it stays, tell your operator what you did."]);
  return (
    <div role="alert" className="m-4 rounded-2xl border border-line bg-danger-soft p-4 md:p-5">
      <div className="flex items-center gap-3 text-danger">
        <TriangleAlert aria-hidden className="size-5 shrink-0" />
        <p className="font-bold">{title ?? api?.title ?? "Something went wrong"}</p>
      </div>
      <dl className="mt-3 grid grid-cols-[5rem_minmax(0,1fr)] gap-x-3 gap-y-1.5 text-sm">
        {facts.map(([name, value], index) => (
          <div key={index} className="contents">
            <dt className="font-semibold">{name}</dt>
            <dd
              className={name === "Code" || name === "Trace id" ? "data break-all" : "break-words"}
            >
              {value}
            </dd>
          </div>
        ))}
      </dl>
      <div className="mt-4 flex flex-wrap gap-2">
        {retry ? (
          <Button small onClick={retry}>
            <RefreshCw aria-hidden className="size-4" /> Try again
          </Button>
        ) : null}
        <CopyButton
          text={facts.map(([name, value]) => `${name}: ${value}`).join("\n")}
          label="Copy report"
        />
      </div>
    </div>
  );
}
