import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Pencil } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { q } from "@/api/queries";
import type { Connection, TestResult } from "@/api/types";
import { count, humanize } from "@/lib/format";
import { Button, buttonClass } from "@/ui/button";
import { Card, CardHead, CopyButton, Facts, Skeleton, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Field, Input } from "@/ui/form";
import { Dialog } from "@/ui/overlay";
import { FileDrop } from "./file-drop";
import { HealthBanner, healthFacts } from "./health";
import { Limits } from "./limits";
import { TestReport } from "./parts";
import { Schedules } from "./schedules";
import { SchemaForm, type Values } from "./schema-form";

export function Overview({ connection }: { connection: Connection }) {
  const client = useQueryClient();
  const test = client.getQueryData<TestResult>(["test", connection.id]);
  const [editing, setEditing] = useState(false);
  const syncs = useQuery(q.syncs(connection.id, 1));
  const uploads = useQuery({
    queryKey: ["uploads"],
    queryFn: async () => (await calls.uploads.list()).data,
  });
  const last = syncs.data?.[0];
  const streams = connection.streams;
  const shown = (value: unknown) => {
    const upload = uploads.data?.find((one) => one.id === value);
    return upload
      ? `${upload.file_name} (upload)`
      : typeof value === "string"
        ? value
        : JSON.stringify(value);
  };
  return (
    <div className="grid items-start gap-4 md:gap-6 lg:grid-cols-2">
      {test ? (
        <div className="lg:col-span-2">
          <TestReport result={test} />
        </div>
      ) : null}
      <HealthBanner connection={connection} />
      <Card aria-labelledby="facts">
        <CardHead title="Source" id="facts">
          <Button small onClick={() => setEditing(true)}>
            <Pencil aria-hidden className="size-3.5" /> Edit
          </Button>
        </CardHead>
        <div className="p-4 md:px-6 md:pb-6">
          <Facts
            items={[
              ["Kind", humanize(connection.connector)],
              ...Object.entries(connection.config ?? {}).map(
                ([name, value]): [string, React.ReactNode] => [
                  humanize(name),
                  <span key={name} className="data break-all">
                    {shown(value)}
                  </span>,
                ],
              ),
              [
                "Streams",
                streams?.length ? `${count(streams.length)} chosen` : "All that the source offers",
              ],
              ...healthFacts(connection),
              ["Added", <Time key="at" at={connection.created_at} />],
              [
                "Id",
                <span key="id" className="inline-flex items-center gap-1">
                  <span className="data break-all">{connection.id}</span>
                  <CopyButton icon text={connection.id} label="Copy the id" />
                </span>,
              ],
            ]}
          />
          <Link
            to="/history"
            search={{ aggregate_id: connection.id }}
            className="mt-3 inline-flex min-h-11 items-center text-sm font-bold text-accent-strong underline underline-offset-4"
          >
            Every event of this connection
          </Link>
        </div>
      </Card>
      <Card aria-labelledby="last-sync">
        <CardHead title="Last sync" id="last-sync" />
        <div className="p-4 md:px-6 md:pb-6">
          {syncs.isPending ? (
            <Skeleton className="h-24" />
          ) : syncs.isError ? (
            <div className="-m-4">
              <ErrorState error={syncs.error} />
            </div>
          ) : last ? (
            <>
              <Facts
                items={[
                  ["State", <Status key="status" of={last.status} />],
                  ["Began", <Time key="at" at={last.started_at ?? last.requested_at} />],
                  [
                    "Rows read",
                    <span key="rows" className="data">
                      {count(last.streams.reduce((sum, stream) => sum + stream.rows_read, 0))}
                    </span>,
                  ],
                  [
                    "In quarantine",
                    <span key="quarantine" className="data">
                      {count(
                        last.streams.reduce(
                          (sum, stream) => sum + (stream.rows_quarantined ?? 0),
                          0,
                        ),
                      )}
                    </span>,
                  ],
                ]}
              />
              <Link
                to="/connections/$connectionId"
                params={{ connectionId: connection.id }}
                search={{ tab: "syncs", sync: last.id }}
                className="mt-3 inline-flex min-h-11 items-center text-sm font-bold text-accent-strong underline underline-offset-4"
              >
                Details of this run
              </Link>
            </>
          ) : (
            <div className="flex flex-col items-start gap-3 text-sm text-muted">
              <p>Nothing has been read yet.</p>
              <Link
                to="/connections/$connectionId"
                params={{ connectionId: connection.id }}
                search={{ tab: "streams" }}
                className={buttonClass("secondary", true)}
              >
                Choose streams
              </Link>
            </div>
          )}
        </div>
      </Card>
      <Schedules connection={connection} />
      {editing ? <EditDialog connection={connection} onClose={() => setEditing(false)} /> : null}
    </div>
  );
}

function EditDialog({ connection, onClose }: { connection: Connection; onClose: () => void }) {
  const client = useQueryClient();
  const connectors = useQuery(q.connectors());
  const connector = connectors.data?.find((one) => one.id === connection.connector);
  const [name, setName] = useState(connection.name);
  const [config, setConfig] = useState<Values>(connection.config ?? {});
  const [limits, setLimits] = useState(connection.limits);
  const save = useMutation({
    mutationFn: () =>
      calls.connections.update(connection.id, { name: name.trim(), config, limits }),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["connections"] });
      client.removeQueries({ queryKey: ["test", connection.id] });
      toast.success("Connection saved");
      onClose();
    },
  });
  const problem = save.error instanceof ApiError ? save.error : null;
  const errorAt = (pointer: string) =>
    problem?.field(`/config${pointer}`) ?? problem?.field(pointer);
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="Edit the connection" wide>
      <form
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <Field label="Name" error={problem?.field("/name")}>
          {(control) => (
            <Input
              {...control}
              required
              maxLength={120}
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
          )}
        </Field>
        {connector ? (
          <SchemaForm
            schema={connector.config_schema}
            value={config}
            onChange={setConfig}
            errorAt={errorAt}
            custom={(property, schema) =>
              connector.id === "file" && property === "path" ? (
                <FileDrop
                  key={property}
                  label={schema.title ?? "File"}
                  hint={schema.description}
                  value={String(config.path ?? "")}
                  error={errorAt("/path")}
                  onChange={(path) => setConfig((before) => ({ ...before, path }))}
                  onNamed={() => undefined}
                />
              ) : undefined
            }
          />
        ) : (
          <Skeleton className="h-40" />
        )}
        <Limits
          limits={limits}
          counted={connector?.capabilities?.counts_requests === true}
          onChange={setLimits}
          errorAt={(name) => problem?.field(`/limits/${name}`)}
        />
        {problem && problem.fields.length === 0 ? (
          <div className="-m-4">
            <ErrorState error={problem} />
          </div>
        ) : null}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={save.isPending}>
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
