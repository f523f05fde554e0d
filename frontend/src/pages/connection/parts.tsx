import { Cloud, Database, FileSpreadsheet, Leaf, type LucideIcon } from "lucide-react";
import { CircleCheck, CircleX } from "lucide-react";
import type { TestResult } from "@/api/types";
import { duration, humanize } from "@/lib/format";

export const CONNECTOR_ICON: Record<string, LucideIcon> = {
  file: FileSpreadsheet,
  s3: FileSpreadsheet,
  salesforce: Cloud,
  postgres: Database,
  supabase: Database,
  mongodb: Leaf,
};

/** The named steps of a test, each passed or failed with how to mend it. */
export function TestReport({ result }: { result: TestResult }) {
  return (
    <div
      role="status"
      className={`rounded-xl p-4 ${result.ok ? "bg-source-soft" : "bg-danger-soft"}`}
    >
      <p
        className={`flex items-center gap-2 font-bold ${result.ok ? "text-source" : "text-danger"}`}
      >
        {result.ok ? (
          <CircleCheck aria-hidden className="size-5" />
        ) : (
          <CircleX aria-hidden className="size-5" />
        )}
        {result.ok ? "The source answers" : "The test failed"}
        <span className="data ml-auto font-medium">{duration(result.latency_ms)}</span>
      </p>
      {result.message ? <p className="mt-1 text-sm">{result.message}</p> : null}
      {result.steps?.length ? (
        <ol className="mt-3 flex flex-col gap-2 text-sm">
          {result.steps.map((step) => (
            <li key={step.name} className="flex gap-2">
              {step.passed ? (
                <CircleCheck aria-hidden className="mt-0.5 size-4 shrink-0 text-source" />
              ) : (
                <CircleX aria-hidden className="mt-0.5 size-4 shrink-0 text-danger" />
              )}
              <span>
                <span className="font-bold">{humanize(step.name)}</span>
                <span className="sr-only">{step.passed ? " passed" : " failed"}</span>
                {step.message ? <span className="block">{step.message}</span> : null}
              </span>
            </li>
          ))}
        </ol>
      ) : null}
    </div>
  );
}
