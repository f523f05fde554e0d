import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Pause, Play, RotateCw, ServerCog, X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { Projection } from "@/api/types";
import { count, humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CardHead, Empty, Facts, Progress, SkeletonRows, Status } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Confirm } from "@/ui/overlay";
import { Freshness, PageHead } from "@/ui/page";

const NAMES: Record<string, string> = { dcl: "Unified views", read_models: "Read models" };
const nameOf = (projection: string) => NAMES[projection] ?? humanize(projection);

/** What a rebuild that is under way can be told. */
const ORDERS = {
  pause: { call: calls.projections.rebuildPause, done: "stands still" },
  resume: { call: calls.projections.rebuildResume, done: "goes on" },
  abort: { call: calls.projections.rebuildAbort, done: "is given up" },
};
interface RebuildOrder {
  name: string;
  order: keyof typeof ORDERS;
}

export function Operations() {
  const client = useQueryClient();
  const projections = useQuery({ ...q.projections(), refetchInterval: 5000 });
  const [asking, setAsking] = useState<string | null>(null);
  const [aborting, setAborting] = useState<string | null>(null);
  const rebuild = useMutation({
    mutationFn: (name: string) => calls.projections.rebuild(name),
    onSuccess: (_, name) => {
      void client.invalidateQueries({ queryKey: ["projections"] });
      toast.success(`${nameOf(name)} is being rebuilt`, {
        description: "What you see stays until the new one is ready.",
      });
    },
    onError: (error) =>
      toast.error("The rebuild could not start", { description: errorText(error) }),
  });
  const told = useMutation({
    mutationFn: ({ name, order }: RebuildOrder) => ORDERS[order].call(name),
    onSuccess: (_, { name, order }) =>
      toast.success(`The rebuild of ${nameOf(name)} ${ORDERS[order].done}`),
    onError: (error) =>
      toast.error("The rebuild did not take that", { description: errorText(error) }),
    onSettled: () => client.invalidateQueries({ queryKey: ["projections"] }),
  });
  return (
    <>
      <PageHead
        title="Operations"
        intro="Every table on this screen is a projection of the log; here is how far each one is, and how to build it again."
        actions={
          <Freshness updatedAt={projections.dataUpdatedAt} fetching={projections.isFetching} />
        }
      />
      {projections.isPending ? (
        <Card>
          <SkeletonRows />
        </Card>
      ) : projections.isError ? (
        <ErrorState error={projections.error} retry={() => void projections.refetch()} />
      ) : projections.data.length === 0 ? (
        <Card>
          <Empty icon={ServerCog} title="No projection is running here" />
        </Card>
      ) : (
        <ul className="grid gap-4 md:gap-6 lg:grid-cols-2">
          {projections.data.map((projection) => (
            <ProjectionCard
              key={`${projection.name}/${String(projection.cell)}`}
              projection={projection}
              several={projections.data.some((other) => other.cell > 0)}
              busy={rebuild.isPending && rebuild.variables === projection.name}
              onRebuild={() => setAsking(projection.name)}
              telling={told.isPending && told.variables.name === projection.name}
              onTell={(order) => {
                if (order === "abort") setAborting(projection.name);
                else told.mutate({ name: projection.name, order });
              }}
            />
          ))}
        </ul>
      )}
      <Confirm
        open={asking !== null}
        onOpenChange={(open) => !open && setAsking(null)}
        title={`Rebuild ${nameOf(asking ?? "")}?`}
        action="Rebuild"
        onConfirm={() => asking && rebuild.mutate(asking)}
      >
        It is filled again from the log beside the present one, and takes its place when it has
        caught up. Nothing is lost; it costs time and disk meanwhile.
      </Confirm>
      <Confirm
        open={aborting !== null}
        onOpenChange={(open) => !open && setAborting(null)}
        title={`Abort the rebuild of ${nameOf(aborting ?? "")}?`}
        action="Abort the rebuild"
        onConfirm={() => aborting && told.mutate({ name: aborting, order: "abort" })}
      >
        What was filled so far is removed. What you see now stays as it is.
      </Confirm>
    </>
  );
}

function ProjectionCard({
  projection,
  several,
  busy,
  onRebuild,
  telling,
  onTell,
}: {
  projection: Projection;
  /** The log has several cells. */
  several: boolean;
  busy: boolean;
  onRebuild: () => void;
  telling: boolean;
  onTell: (order: RebuildOrder["order"]) => void;
}) {
  const keptBy: [string, ReactNode][] =
    projection.node === undefined
      ? []
      : [
          [
            "Kept by",
            <span key="node" className="data break-all">
              {projection.node}
            </span>,
          ],
        ];
  return (
    <Card
      as="li"
      aria-label={several ? `${projection.name}, cell ${String(projection.cell)}` : projection.name}
    >
      <CardHead
        title={
          <span className="flex flex-wrap items-center gap-3">
            {nameOf(projection.name)}
            {several ? ` · cell ${String(projection.cell)}` : null}{" "}
            <Status of={projection.status} />
          </span>
        }
      >
        <Button small busy={busy} onClick={onRebuild}>
          <RotateCw aria-hidden className="size-4" /> Rebuild
        </Button>
      </CardHead>
      <div className="p-4 md:px-6 md:pb-6">
        <Facts
          items={[
            [
              "Behind the log",
              <span key="lag" className="data">
                {projection.lag === 0
                  ? "nothing"
                  : `${count(projection.lag)} ${projection.lag === 1 ? "commit" : "commits"}`}
              </span>,
            ],
            ...keptBy,
            [
              "Version",
              <span key="version" className="data">
                {projection.version}
              </span>,
            ],
            [
              "Generation",
              <span key="generation" className="data">
                {projection.generation}
              </span>,
            ],
            [
              "Position",
              <span key="position" className="data break-all">
                {projection.position}
              </span>,
            ],
          ]}
        />
        {projection.rebuild_progress !== null && projection.rebuild_progress !== undefined ? (
          <div className="mt-4">
            <Progress
              value={projection.rebuild_progress}
              label={`Rebuild of ${nameOf(projection.name)}`}
              tone="agent"
            />
            <div className="mt-3 flex flex-wrap gap-2">
              {projection.rebuild_paused ? (
                <Button small busy={telling} onClick={() => onTell("resume")}>
                  <Play aria-hidden className="size-4" /> Resume the rebuild
                </Button>
              ) : (
                <Button small busy={telling} onClick={() => onTell("pause")}>
                  <Pause aria-hidden className="size-4" /> Pause the rebuild
                </Button>
              )}
              <Button small disabled={telling} onClick={() => onTell("abort")}>
                <X aria-hidden className="size-4" /> Abort the rebuild
              </Button>
            </div>
          </div>
        ) : null}
        {projection.message ? (
          <p className="mt-4 text-sm text-muted">{projection.message}</p>
        ) : null}
        {projection.poisoned.map((poisoned) => (
          <div
            key={poisoned.tenant}
            role="alert"
            className="mt-4 rounded-xl bg-danger-soft p-3 text-sm"
          >
            <p className="font-bold text-danger">It stopped at an event it could not apply</p>
            <p className="mt-1 break-words">
              {poisoned.message} <span className="data">({poisoned.code})</span>
            </p>
          </div>
        ))}
      </div>
    </Card>
  );
}
