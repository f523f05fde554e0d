import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Cable, ChevronRight, FileSpreadsheet, Plus } from "lucide-react";
import { q } from "@/api/queries";
import type { Connection } from "@/api/types";
import { count, many } from "@/lib/format";
import { buttonClass } from "@/ui/button";
import { Card, Empty, SkeletonRows, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { SearchBox, Select } from "@/ui/form";
import { Freshness, PageHead } from "@/ui/page";
import { CONNECTOR_ICON } from "./connection/parts";

const route = getRouteApi("/app/connections");

export function Connections() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const connections = useQuery(q.connections());
  const connectors = useQuery(q.connectors());
  const all = [...(connections.data ?? [])].sort((left, right) =>
    left.name.localeCompare(right.name),
  );
  const statuses = [...new Set(all.map((connection) => connection.status))].sort();
  const wanted = (search.q ?? "").toLowerCase();
  const shown = all.filter(
    (connection) =>
      (!search.status || connection.status === search.status) &&
      `${connection.name} ${connection.connector}`.toLowerCase().includes(wanted),
  );
  const connectorName = (id: string) =>
    connectors.data?.find((connector) => connector.id === id)?.name ?? id;

  return (
    <>
      <PageHead
        title="Connections"
        intro="Where your data comes from. Each one is tested, watched for drift, and kept in step."
        actions={
          <Link to="/connections/new" className={buttonClass("primary")}>
            <Plus aria-hidden className="size-4" /> Add connection
          </Link>
        }
      />
      {all.length > 0 ? (
        <div className="mb-4 flex flex-wrap items-center gap-3">
          <SearchBox
            label="Search connections"
            value={search.q ?? ""}
            onChange={(text) =>
              void navigate({ search: { ...search, q: text || undefined }, replace: true })
            }
            className="w-full sm:w-72"
          />
          <Select
            aria-label="Status"
            value={search.status ?? ""}
            onChange={(event) =>
              void navigate({
                search: { ...search, status: event.target.value || undefined },
                replace: true,
              })
            }
            className="!w-auto"
          >
            <option value="">Any status</option>
            {statuses.map((status) => (
              <option key={status} value={status}>
                {status}
              </option>
            ))}
          </Select>
          <div className="ml-auto">
            <Freshness updatedAt={connections.dataUpdatedAt} fetching={connections.isFetching} />
          </div>
        </div>
      ) : null}
      {connections.isPending ? (
        <Card>
          <SkeletonRows rows={4} className="h-16" />
        </Card>
      ) : connections.isError ? (
        <ErrorState error={connections.error} retry={() => void connections.refetch()} />
      ) : all.length === 0 ? (
        <Card>
          <Empty
            icon={Cable}
            title="No source is connected yet"
            action={
              <Link to="/connections/new" className={buttonClass("primary")}>
                <Plus aria-hidden className="size-4" /> Add your first connection
              </Link>
            }
          >
            Upload a CSV, Excel, JSON or Parquet file, and see its rows as accounts, contacts or
            opportunities in a minute.
          </Empty>
        </Card>
      ) : shown.length === 0 ? (
        <Card>
          <Empty icon={Cable} title={`None of your ${count(all.length)} connections match`}>
            <Link
              to="/connections"
              className="inline-flex min-h-11 items-center font-bold text-accent-strong underline underline-offset-4"
            >
              Show all
            </Link>
          </Empty>
        </Card>
      ) : (
        <ul className="grid gap-3 md:gap-4 lg:grid-cols-2">
          {shown.map((connection) => (
            <ConnectionCard
              key={connection.id}
              connection={connection}
              connector={connectorName(connection.connector)}
            />
          ))}
        </ul>
      )}
    </>
  );
}

function ConnectionCard({ connection, connector }: { connection: Connection; connector: string }) {
  const Icon = CONNECTOR_ICON[connection.connector] ?? FileSpreadsheet;
  const streams = connection.streams;
  return (
    <Card as="li" className="relative transition-colors hover:border-control">
      <Link
        to="/connections/$connectionId"
        params={{ connectionId: connection.id }}
        className="flex items-center gap-4 rounded-2xl p-4 md:p-5"
      >
        <span className="grid size-12 shrink-0 place-items-center rounded-xl bg-source-soft text-source">
          <Icon aria-hidden className="size-6" strokeWidth={1.75} />
        </span>
        <span className="min-w-0 flex-1">
          <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <span className="truncate text-base font-bold">{connection.name}</span>
            <Status of={connection.status} />
          </span>
          <span className="mt-1 flex flex-wrap gap-x-3 text-sm text-muted">
            <span>{connector}</span>
            {streams?.length ? <span>{many(streams.length, "stream")}</span> : null}
            {connection.last_synced_at ? (
              <span>
                synced <Time at={connection.last_synced_at} />
              </span>
            ) : connection.created_at ? (
              <span>
                added <Time at={connection.created_at} />
              </span>
            ) : null}
          </span>
        </span>
        <ChevronRight aria-hidden className="size-5 shrink-0 text-muted" />
      </Link>
    </Card>
  );
}
