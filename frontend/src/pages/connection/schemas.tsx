import { useQuery } from "@tanstack/react-query";
import { Braces, ChevronRight } from "lucide-react";
import { q } from "@/api/queries";
import type { SchemaVersion } from "@/api/types";
import { many } from "@/lib/format";
import { Badge, Card, CardHead, Empty, SkeletonRows, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { differenceOf } from "./schema-difference";

export default function Schemas({ connectionId }: { connectionId: string }) {
  const schemas = useQuery(q.schemas(connectionId));
  if (schemas.isPending) {
    return (
      <Card>
        <SkeletonRows />
      </Card>
    );
  }
  if (schemas.isError)
    return <ErrorState error={schemas.error} retry={() => void schemas.refetch()} />;
  if (schemas.data.length === 0) {
    return (
      <Card>
        <Empty icon={Braces} title="No schema has been seen yet">
          The first sync records the shape of each stream; every change after it becomes a version
          here.
        </Empty>
      </Card>
    );
  }
  const streams = [...new Set(schemas.data.map((schema) => schema.stream))].sort();
  return (
    <div className="grid items-start gap-4 md:gap-6 xl:grid-cols-2">
      {streams.map((stream) => (
        <StreamVersions
          key={stream}
          stream={stream}
          versions={schemas.data
            .filter((schema) => schema.stream === stream)
            .sort((left, right) => right.version - left.version)}
        />
      ))}
    </div>
  );
}

function StreamVersions({ stream, versions }: { stream: string; versions: SchemaVersion[] }) {
  return (
    <Card aria-label={`Schemas of ${stream}`}>
      <CardHead
        title={<span className="break-all text-source">{stream}</span>}
        hint={many(versions.length, "version")}
      />
      <ol className="mt-3">
        {versions.map((version, index) => {
          const difference = differenceOf(versions[index + 1], version);
          return (
            <li key={version.version} className="border-t border-line">
              <details open={index === 0} className="group">
                <summary className="flex min-h-12 list-none [&::-webkit-details-marker]:hidden flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2 -outline-offset-2 hover:bg-hover md:px-6">
                  <ChevronRight
                    aria-hidden
                    className="size-4 text-muted transition-transform group-open:rotate-90"
                  />
                  <span className="font-bold">Version {version.version}</span>
                  <span className="text-sm text-muted">
                    {many(version.fields.length, "field")} · <Time at={version.first_seen_at} />
                  </span>
                  <span className="ml-auto flex flex-wrap gap-1.5">
                    {difference?.added.length ? (
                      <Badge tone="good">+{difference.added.length} added</Badge>
                    ) : null}
                    {difference?.removed.length ? (
                      <Badge tone="danger">−{difference.removed.length} removed</Badge>
                    ) : null}
                    {difference?.changed.length ? (
                      <Badge tone="warn">{difference.changed.length} changed</Badge>
                    ) : null}
                  </span>
                </summary>
                <ul className="px-4 pb-4 md:px-6">
                  {version.fields.map((field) => {
                    const mark = difference?.added.includes(field.name)
                      ? "added"
                      : difference?.changed.includes(field.name)
                        ? "changed"
                        : null;
                    return (
                      <li
                        key={field.name}
                        className="flex flex-wrap items-baseline gap-x-3 border-t border-line py-2 text-sm first:border-t-0"
                      >
                        <span className="font-semibold break-all">{field.name}</span>
                        {mark ? (
                          <Badge tone={mark === "added" ? "good" : "warn"}>{mark}</Badge>
                        ) : null}
                        <span className="data ml-auto text-muted">
                          {field.type}
                          {field.format ? ` ${field.format}` : ""}
                          {field.nullable ? "" : ", never empty"}
                        </span>
                      </li>
                    );
                  })}
                  {difference?.removed.map((name) => (
                    <li
                      key={name}
                      className="flex flex-wrap items-baseline gap-x-3 border-t border-line py-2 text-sm"
                    >
                      <s className="break-all text-muted">{name}</s>
                      <Badge tone="danger">removed</Badge>
                    </li>
                  ))}
                  <li className="data border-t border-line pt-3 break-all text-muted">
                    {version.fingerprint}
                  </li>
                </ul>
              </details>
            </li>
          );
        })}
      </ol>
    </Card>
  );
}
