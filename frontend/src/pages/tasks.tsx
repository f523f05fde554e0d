import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Ban, ListChecks, RotateCcw } from "lucide-react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { ErrorDetail, Task, TaskLogLine } from "@/api/types";
import { count, dateTime, duration, humanize, shortId } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CopyButton, Empty, Facts, Progress, SkeletonRows, Status, Time } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Segments } from "@/ui/form";
import { Drawer } from "@/ui/overlay";
import { Freshness, PageHead } from "@/ui/page";

const route = getRouteApi("/app/tasks");
const FILTERS = [
  { value: "", label: "All" },
  { value: "running", label: "Running" },
  { value: "queued", label: "Queued" },
  { value: "retrying", label: "Retrying" },
  { value: "succeeded", label: "Succeeded" },
  { value: "failed", label: "Failed" },
  { value: "dead", label: "Dead" },
  { value: "cancelled", label: "Cancelled" },
];
const CANCELLABLE = new Set(["queued", "running", "retrying"]);
const RETRYABLE = new Set(["failed", "dead", "cancelled"]);

const errorOf = (error: string | ErrorDetail | null | undefined) =>
  !error
    ? null
    : typeof error === "string"
      ? error
      : [error.message, error.code].filter(Boolean).join(" · ");

export function Tasks() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const tasks = useQuery(q.tasks({ status: search.status, limit: 100 }));
  const list = tasks.data?.data ?? [];
  return (
    <>
      <PageHead
        title="Tasks"
        intro="Work that runs in the background, with its progress, retries and errors."
        actions={<Freshness updatedAt={tasks.dataUpdatedAt} fetching={tasks.isFetching} />}
      />
      <Segments
        label="Which tasks"
        className="mb-4"
        value={search.status ?? ""}
        options={FILTERS}
        onChange={(status) => void navigate({ search: { status: status || undefined } })}
      />
      <Card aria-label="Tasks">
        {tasks.isPending ? (
          <SkeletonRows />
        ) : tasks.isError ? (
          <ErrorState error={tasks.error} retry={() => void tasks.refetch()} />
        ) : list.length === 0 ? (
          <Empty
            icon={ListChecks}
            title={search.status ? "No task is in this state" : "No task has run yet"}
          >
            {search.status ? null : "A sync runs as a task; start one from a connection."}
          </Empty>
        ) : (
          <ul>
            {list.map((task) => (
              <li key={task.id} className="border-t border-line first:border-t-0">
                <Link
                  to="/tasks"
                  search={{ ...search, id: task.id }}
                  resetScroll={false}
                  className="flex min-h-16 flex-wrap items-center gap-x-4 gap-y-1 px-4 py-3 -outline-offset-2 hover:bg-hover md:px-6"
                >
                  <Status of={task.status} />
                  <span className="font-bold">{humanize(task.action)}</span>
                  <span className="data text-muted">{shortId(task.id)}</span>
                  {task.payload?.schedule_id && task.action === "sync" ? (
                    <span className="text-sm text-muted">by a schedule</span>
                  ) : null}
                  {typeof task.payload?.backfill === "string" ? (
                    <span className="text-sm text-muted">
                      “{task.payload.backfill}” from its beginning
                    </span>
                  ) : null}
                  <span className="ml-auto flex items-center gap-4 text-sm text-muted">
                    {task.run_at && task.status === "queued" ? (
                      <span>not before {dateTime(new Date(task.run_at))}</span>
                    ) : null}
                    {task.attempt && task.attempt > 1 ? <span>try {task.attempt}</span> : null}
                    <Time at={task.finished_at ?? task.started_at ?? task.created_at} />
                  </span>
                  {task.status === "running" ? (
                    <span className="w-full">
                      <TaskProgress task={task} />
                    </span>
                  ) : null}
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Card>
      <TaskDrawer
        id={search.id}
        onClose={() => void navigate({ search: { ...search, id: undefined } })}
      />
    </>
  );
}

function logText(line: TaskLogLine): string {
  const said = line.detail?.message ?? line.detail?.note;
  return typeof said === "string" && said
    ? `${humanize(line.event)}: ${said}`
    : humanize(line.event);
}

function TaskProgress({ task }: { task: Task }) {
  const { done, total, note } = task.progress ?? {};
  return (
    <span className="flex flex-col gap-1">
      <Progress
        value={total && done !== undefined ? done / total : null}
        label={`Progress of ${humanize(task.action)}`}
      />
      <span className="data text-muted">
        {done !== undefined ? `${count(done)}${total ? ` of ${count(total)}` : ""} ` : ""}
        {note ?? ""}
      </span>
    </span>
  );
}

function TaskDrawer({ id, onClose }: { id: string | undefined; onClose: () => void }) {
  const client = useQueryClient();
  const task = useQuery({ ...q.task(id ?? ""), enabled: Boolean(id) });
  const log = useQuery({ ...q.taskLog(id ?? ""), enabled: Boolean(id) });
  const act = useMutation({
    mutationFn: (what: "cancel" | "retry") =>
      what === "cancel" ? calls.tasks.cancel(id ?? "") : calls.tasks.retry(id ?? ""),
    onSuccess: (_, what) => {
      void client.invalidateQueries({ queryKey: ["tasks"] });
      toast.success(what === "cancel" ? "The task is being cancelled" : "The task runs again");
    },
    onError: (error) => toast.error("That did not work", { description: errorText(error) }),
  });
  const data = task.data;
  const failure = errorOf(data?.error);
  const took =
    data?.started_at && data.finished_at
      ? Date.parse(data.finished_at) - Date.parse(data.started_at)
      : null;
  return (
    <Drawer
      open={Boolean(id)}
      onOpenChange={(open) => !open && onClose()}
      title={data ? humanize(data.action) : "Task"}
    >
      {task.isError ? (
        <ErrorState error={task.error} retry={() => void task.refetch()} />
      ) : !data ? (
        <SkeletonRows />
      ) : (
        <div className="flex flex-col gap-6 p-5">
          <div className="flex flex-wrap items-center justify-between gap-3">
            <Status of={data.status} />
            <span className="flex gap-2">
              {CANCELLABLE.has(data.status) ? (
                <Button
                  small
                  variant="danger"
                  busy={act.isPending}
                  onClick={() => act.mutate("cancel")}
                >
                  <Ban aria-hidden className="size-4" /> Cancel
                </Button>
              ) : null}
              {RETRYABLE.has(data.status) ? (
                <Button small busy={act.isPending} onClick={() => act.mutate("retry")}>
                  <RotateCcw aria-hidden className="size-4" /> Run again
                </Button>
              ) : null}
            </span>
          </div>
          {failure ? (
            <p
              role="alert"
              className="rounded-xl bg-danger-soft px-4 py-3 text-sm font-semibold text-danger"
            >
              {failure}
            </p>
          ) : null}
          {data.status === "running" ? <TaskProgress task={data} /> : null}
          <Facts
            items={[
              ["Queued", <Time key="queued" at={data.created_at} />],
              ["Started", <Time key="started" at={data.started_at} />],
              ["Finished", <Time key="finished" at={data.finished_at} />],
              ...(took === null ? [] : ([["Took", duration(took)]] as [string, string][])),
              [
                "Try",
                `${data.attempt ?? 0}${data.max_retries === undefined ? "" : ` of ${data.max_retries + 1}`}`,
              ],
              [
                "Id",
                <span key="id" className="inline-flex items-center gap-1">
                  <span className="data break-all">{data.id}</span>
                  <CopyButton icon text={data.id} label="Copy the id" />
                </span>,
              ],
            ]}
          />
          <section aria-labelledby="task-log">
            <h3 id="task-log" className="mb-2 font-bold">
              Log
            </h3>
            {log.isPending ? (
              <SkeletonRows rows={3} className="h-8" />
            ) : log.isError ? (
              <div className="-mx-4">
                <ErrorState error={log.error} />
              </div>
            ) : log.data.length === 0 ? (
              <p className="text-sm text-muted">Nothing was logged.</p>
            ) : (
              <ol className="overflow-hidden rounded-xl border border-line">
                {log.data.map((line, index) => (
                  <li
                    key={index}
                    className="flex gap-4 border-t border-line px-3 py-2 text-sm first:border-t-0"
                  >
                    <Time at={line.at} className="shrink-0 text-muted" />
                    <span className="break-words">{logText(line)}</span>
                  </li>
                ))}
              </ol>
            )}
          </section>
          <Link
            to="/history"
            search={{ aggregate_id: data.id }}
            className="inline-flex min-h-11 items-center text-sm font-bold text-accent-strong underline underline-offset-4"
          >
            Every event of this task
          </Link>
        </div>
      )}
    </Drawer>
  );
}
