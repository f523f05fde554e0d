import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { FileSpreadsheet } from "lucide-react";
import { useState } from "react";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { q } from "@/api/queries";
import type { Connector, JsonSchema } from "@/api/types";
import { useDraft } from "@/lib/hooks";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Card, Skeleton } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Field, Input } from "@/ui/form";
import { PageHead } from "@/ui/page";
import { FileDrop } from "./connection/file-drop";
import { connectionTest } from "./connection/connection-test";
import { CONNECTOR_ICON } from "./connection/parts";
import { SchemaForm, type Values } from "./connection/schema-form";

const route = getRouteApi("/app/connections/new");

export function ConnectionNew() {
  const { connector: chosenId } = route.useSearch();
  const navigate = route.useNavigate();
  const connectors = useQuery(q.connectors());
  const chosen =
    connectors.data?.find((connector) => connector.id === chosenId) ??
    (connectors.data?.length === 1 ? connectors.data[0] : undefined);
  return (
    <div className="mx-auto max-w-3xl">
      <PageHead
        title="Add a connection"
        trail={[{ label: "Connections", link: { to: "/connections" } }]}
        intro="Choose where the data is; what you enter is kept here until you are done."
      />
      {connectors.isPending ? (
        <div role="status" aria-label="Loading" className="grid grid-cols-2 gap-3">
          <Skeleton className="h-24" />
          <Skeleton className="h-24" />
        </div>
      ) : connectors.isError ? (
        <ErrorState error={connectors.error} retry={() => void connectors.refetch()} />
      ) : (
        <>
          <ul className="mb-4 grid gap-3 sm:grid-cols-2" aria-label="Kinds of source">
            {connectors.data.map((connector) => {
              const Icon = CONNECTOR_ICON[connector.id] ?? FileSpreadsheet;
              const active = connector.id === chosen?.id;
              return (
                <li key={connector.id}>
                  <button
                    type="button"
                    aria-pressed={active}
                    onClick={() =>
                      void navigate({
                        search: { connector: connector.id },
                        replace: Boolean(chosenId),
                      })
                    }
                    className={cx(
                      "flex w-full items-center gap-4 rounded-2xl border bg-surface p-4 text-left shadow-card transition-colors",
                      active
                        ? "border-accent-strong ring-1 ring-accent-strong"
                        : "border-line hover:border-control",
                    )}
                  >
                    <span className="grid size-11 shrink-0 place-items-center rounded-xl bg-source-soft text-source">
                      <Icon aria-hidden className="size-6" strokeWidth={1.75} />
                    </span>
                    <span className="min-w-0">
                      <span className="block font-bold">{connector.name}</span>
                      {connector.description ? (
                        <span className="block text-sm text-muted">{connector.description}</span>
                      ) : null}
                    </span>
                  </button>
                </li>
              );
            })}
          </ul>
          {chosen ? <NewForm key={chosen.id} connector={chosen} /> : null}
        </>
      )}
    </div>
  );
}

/** Whether something at this place, or below it, is never to be shown or kept. */
function holdsSecret(schema: JsonSchema | undefined): boolean {
  return (
    Boolean(schema?.writeOnly) ||
    Object.values(schema?.properties ?? {}).some(holdsSecret) ||
    (schema?.oneOf ?? []).some(holdsSecret)
  );
}

function NewForm({ connector }: { connector: Connector }) {
  const client = useQueryClient();
  const navigate = route.useNavigate();
  const [draft, setDraft, clearDraft] = useDraft<{ name: string; config: Values }>(
    `connection.${connector.id}`,
    { name: "", config: {} },
  );
  // A secret is never written to the browser's storage.
  const [secrets, setSecrets] = useState<Values>({});
  const isSecret = (name: string) =>
    [connector.config_schema, ...(connector.config_schema.oneOf ?? [])].some((schema) =>
      holdsSecret(schema.properties?.[name]),
    );
  const setConfig = (config: Values) => {
    const entries = Object.entries(config);
    setSecrets(Object.fromEntries(entries.filter(([name]) => isSecret(name))));
    const kept = Object.fromEntries(entries.filter(([name]) => !isSecret(name)));
    setDraft((before) => ({ ...before, config: kept }));
  };
  const config = { ...draft.config, ...secrets };

  const create = useMutation({
    mutationFn: async () => {
      const connection = await calls.connections.create({
        name: draft.name.trim(),
        connector: connector.id,
        config,
      });
      return { connection, test: await connectionTest(connection.id) };
    },
    onSuccess: ({ connection, test }) => {
      clearDraft();
      client.setQueryData(["connections", connection.id], connection);
      client.setQueryData(["test", connection.id], test);
      void client.invalidateQueries({ queryKey: ["connections"] });
      void navigate({
        to: "/connections/$connectionId",
        params: { connectionId: connection.id },
        search: { tab: test.ok ? "streams" : undefined },
      });
    },
  });
  const problem = create.error instanceof ApiError ? create.error : null;
  const errorAt = (pointer: string) =>
    problem?.field(`/config${pointer}`) ?? problem?.field(pointer);
  return (
    <Card className="p-4 md:p-6" aria-label={`New ${connector.name} connection`}>
      <form
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <SchemaForm
          schema={connector.config_schema}
          value={config}
          onChange={setConfig}
          errorAt={errorAt}
          custom={(name, schema) =>
            connector.id === "file" && name === "path" ? (
              <FileDrop
                key={name}
                label={schema.title ?? "File"}
                hint={schema.description}
                value={String(config.path ?? "")}
                error={errorAt("/path")}
                onChange={(path) => setConfig({ ...config, path })}
                onNamed={(fileName) =>
                  setDraft((before) => ({
                    ...before,
                    name: before.name || fileName.replace(/(\.[a-z0-9]+)+$/i, ""),
                  }))
                }
              />
            ) : undefined
          }
        />
        <Field label="Name of the connection" error={problem?.field("/name")}>
          {(control) => (
            <Input
              {...control}
              name="name"
              required
              maxLength={120}
              value={draft.name}
              onChange={(event) => setDraft((before) => ({ ...before, name: event.target.value }))}
            />
          )}
        </Field>
        {problem && problem.fields.length === 0 ? (
          <div className="-m-4">
            <ErrorState error={problem} title="The connection could not be created" />
          </div>
        ) : null}
        <div className="flex flex-wrap justify-end gap-2">
          <Button
            type="submit"
            variant="primary"
            busy={create.isPending}
            disabled={connector.id === "file" && !config.path}
          >
            Create and test
          </Button>
        </div>
      </form>
    </Card>
  );
}
