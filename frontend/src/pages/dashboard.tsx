import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { Link, type LinkProps } from "@tanstack/react-router";
import {
  ArrowRight,
  Cable,
  CircleCheck,
  Plus,
  RefreshCw,
  Table2,
  Wrench,
  type LucideIcon,
} from "lucide-react";
import type { ReactNode } from "react";
import { useGathered, useLive } from "@/api/events";
import { q } from "@/api/queries";
import type { Connection, LogEvent, Repair, Sync } from "@/api/types";
import { count, humanize, percent, shortCount } from "@/lib/format";
import { buttonClass } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Card, CardHead, Empty, Skeleton, SkeletonRows, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Freshness, NewItems, PageHead } from "@/ui/page";
import { EventLine } from "./event-row";
import { repairTitle } from "./repairs/title";

export function Dashboard() {
  const views = useQuery(q.views());
  const connections = useQuery(q.connections());
  const waiting = useQuery(q.repairsWaiting());
  const pending = useQuery(q.repairs({ status: "pending_review", limit: 5 }));
  const drift = useQuery(q.drift({ status: "open", limit: 1000 }));
  const syncs = useQuery(q.syncs(undefined, 6));
  const newest = Math.max(views.dataUpdatedAt, connections.dataUpdatedAt, waiting.dataUpdatedAt);

  if (connections.data?.length === 0) return <Welcome />;
  const rows = views.data?.reduce((sum, view) => sum + view.rows, 0);
  const unhealthy = connections.data?.filter(
    (connection) => connection.status === "failing" || connection.status === "paused",
  ).length;
  return (
    <>
      <PageHead
        title="Dashboard"
        intro="What your sources say, put together, and what needs you."
        actions={<Freshness updatedAt={newest} />}
      />
      <ul className="mb-4 grid grid-cols-2 gap-3 md:mb-6 md:gap-4 xl:grid-cols-4">
        <Figure
          tone="entity"
          icon={Table2}
          label="Unified rows"
          value={rows}
          query={views}
          link={{ to: "/views" }}
          note={
            views.data
              ? `in ${count(views.data.filter((view) => view.rows > 0).length)} views`
              : undefined
          }
        />
        <Figure
          tone="source"
          icon={Cable}
          label="Connections"
          value={connections.data?.length}
          query={connections}
          link={{ to: "/connections", search: unhealthy ? { status: "failing" } : {} }}
          note={
            unhealthy === undefined
              ? undefined
              : unhealthy > 0
                ? `${count(unhealthy)} failing`
                : "none failing"
          }
          alarm={Boolean(unhealthy)}
        />
        <Figure
          tone="agent"
          icon={Wrench}
          label="Repairs to review"
          value={waiting.data?.count}
          more={waiting.data?.more}
          query={waiting}
          link={{ to: "/repairs", search: { status: "pending_review" } }}
          note={
            waiting.data ? (waiting.data.count ? "waiting for you" : "nothing waits") : undefined
          }
          alarm={Boolean(waiting.data?.count)}
        />
        <Figure
          tone="agent"
          icon={CircleCheck}
          label="Open drift"
          value={drift.data?.length}
          query={drift}
          link={{ to: "/repairs", search: { status: "all" } }}
          note={
            drift.data
              ? `${count(drift.data.filter((finding) => finding.severity === "critical").length)} critical`
              : undefined
          }
        />
      </ul>
      <div className="grid items-start gap-4 md:gap-6 xl:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
        <div className="flex min-w-0 flex-col gap-4 md:gap-6">
          <Entities query={views} />
          <RecentSyncs query={syncs} connections={connections.data} />
        </div>
        <div className="flex min-w-0 flex-col gap-4 md:gap-6">
          <OpenRepairs query={pending} />
          <Health query={connections} />
          <Latest />
        </div>
      </div>
    </>
  );
}

function Welcome() {
  return (
    <>
      <PageHead title="Dashboard" />
      <Card>
        <Empty
          icon={Cable}
          title="Connect your first source"
          action={
            <Link to="/connections/new" className={buttonClass("primary")}>
              <Plus aria-hidden className="size-4" /> Add a connection
            </Link>
          }
        >
          Upload a file from one of your systems. AutonomOS recognises its columns, puts its rows
          together with those of your other sources, and tells you when the file changes its shape.
        </Empty>
      </Card>
    </>
  );
}

const TONE = {
  source: "bg-source-soft text-source",
  entity: "bg-entity-soft text-entity",
  agent: "bg-agent-soft text-agent",
};

function Figure({
  tone,
  icon: Icon,
  label,
  value,
  note,
  link,
  query,
  alarm,
  more,
}: {
  tone: keyof typeof TONE;
  icon: LucideIcon;
  label: string;
  value: number | undefined;
  note?: string;
  link: LinkProps;
  query: UseQueryResult<unknown>;
  alarm?: boolean;
  more?: boolean;
}) {
  return (
    <Card as="li" className="relative transition-colors hover:border-control">
      <Link {...link} className="flex h-full flex-col rounded-2xl p-4 md:p-5">
        <span className="flex flex-col items-start gap-2 text-sm font-semibold text-muted sm:flex-row sm:items-center">
          <span
            className={cx(
              "edge-when-forced grid size-8 shrink-0 place-items-center rounded-lg",
              TONE[tone],
            )}
          >
            <Icon aria-hidden className="size-4" />
          </span>
          {label}
        </span>
        <span className="mt-3 text-[1.75rem] leading-9 font-bold tracking-tight tabular-nums md:text-3xl">
          {query.isPending ? (
            <Skeleton className="h-9 w-16" />
          ) : query.isError ? (
            <span className="text-base text-danger">not available</span>
          ) : (
            <>
              {shortCount(value ?? 0)}
              {more ? "+" : ""}
            </>
          )}
        </span>
        <span className={cx("min-h-5 text-sm", alarm ? "font-bold text-warn" : "text-muted")}>
          {note ?? ""}
        </span>
      </Link>
    </Card>
  );
}

function More({ link, children }: { link: LinkProps; children: ReactNode }) {
  return (
    <Link
      {...link}
      className="inline-flex min-h-11 items-center gap-1 rounded-lg text-sm font-bold text-accent-strong underline-offset-4 hover:underline md:pointer-fine:min-h-8"
    >
      {children} <ArrowRight aria-hidden className="size-4" />
    </Link>
  );
}

function Entities({
  query,
}: {
  query: UseQueryResult<{ entity: string; plural?: string; rows: number; held?: number }[]>;
}) {
  const most = Math.max(1, ...(query.data?.map((view) => view.rows) ?? []));
  const shown =
    query.data?.filter((view) => view.rows > 0).sort((left, right) => right.rows - left.rows) ?? [];
  return (
    <Card aria-labelledby="entities">
      <CardHead
        title="Unified entities"
        id="entities"
        hint="One row for each thing, whatever number of sources know it"
      />
      {query.isPending ? (
        <SkeletonRows rows={3} className="h-10" />
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} />
      ) : shown.length === 0 ? (
        <p className="p-4 text-sm text-muted md:px-6 md:pb-6">
          No row has reached a view yet; a synced and mapped stream fills it.
        </p>
      ) : (
        <ul className="p-2 md:px-4 md:pb-4">
          {shown.map((view) => (
            <li key={view.entity}>
              <Link
                to="/views/$entity"
                params={{ entity: view.entity }}
                className="grid min-h-12 grid-cols-[7.5rem_minmax(0,1fr)_auto] items-center gap-3 rounded-xl px-2 hover:bg-hover md:grid-cols-[9rem_minmax(0,1fr)_auto]"
              >
                <span className="truncate font-semibold">
                  {humanize(view.plural ?? view.entity)}
                </span>
                <span
                  aria-hidden
                  className="edge-when-forced h-2 overflow-hidden rounded-full bg-sunken"
                >
                  <span
                    className="block h-full rounded-full bg-accent"
                    style={{ width: `${Math.max(1, (view.rows / most) * 100)}%` }}
                  />
                </span>
                <span className="data min-w-16 text-right">{count(view.rows)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function RecentSyncs({
  query,
  connections,
}: {
  query: UseQueryResult<Sync[]>;
  connections: Connection[] | undefined;
}) {
  return (
    <Card aria-labelledby="recent-syncs">
      <CardHead title="Recent syncs" id="recent-syncs" />
      {query.isPending ? (
        <SkeletonRows rows={4} className="h-12" />
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} />
      ) : query.data.length === 0 ? (
        <p className="p-4 text-sm text-muted md:px-6 md:pb-6">Nothing has been synced yet.</p>
      ) : (
        <ul className="p-2 md:px-4 md:pb-4">
          {query.data.map((sync) => (
            <li key={sync.id}>
              <Link
                to="/connections/$connectionId"
                params={{ connectionId: sync.connection_id }}
                search={{ tab: "syncs", sync: sync.id }}
                className="flex min-h-12 flex-wrap items-center gap-x-3 gap-y-1 rounded-xl px-2 py-2 hover:bg-hover"
              >
                <Status of={sync.status} />
                <span className="min-w-0 truncate font-semibold">
                  {connections?.find((connection) => connection.id === sync.connection_id)?.name ??
                    "Deleted connection"}
                </span>
                <span className="data ml-auto">
                  {count(sync.streams.reduce((sum, stream) => sum + stream.rows_read, 0))} rows
                </span>
                <Time
                  at={sync.finished_at ?? sync.started_at ?? sync.requested_at}
                  className="w-20 text-right text-sm text-muted"
                />
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

const isProposal = (event: LogEvent) => event.type === "RepairProposed";

function OpenRepairs({ query }: { query: UseQueryResult<{ data: Repair[] }> }) {
  const [gathered, resetGathered] = useGathered(isProposal);
  return (
    <Card aria-labelledby="open-repairs">
      <CardHead title="Waiting for you" id="open-repairs">
        <NewItems
          count={gathered}
          onShow={() => {
            resetGathered();
            void query.refetch();
          }}
        />
        <More link={{ to: "/repairs", search: { status: "all" } }}>All repairs</More>
      </CardHead>
      {query.isPending ? (
        <SkeletonRows rows={2} />
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} />
      ) : query.data.data.length === 0 ? (
        <p className="flex items-center gap-2 px-4 pt-2 pb-5 text-sm text-muted md:px-6">
          <CircleCheck aria-hidden className="size-5 text-source" /> Nothing waits for a decision.
        </p>
      ) : (
        <ul className="p-2 md:px-4 md:pb-4">
          {query.data.data.map((repair) => (
            <li key={repair.id}>
              <Link
                to="/repairs"
                search={{ status: "pending_review", id: repair.id }}
                className="flex min-h-14 items-center gap-3 rounded-xl px-2 py-2 hover:bg-hover"
              >
                <span className="grid size-9 shrink-0 place-items-center rounded-lg bg-agent-soft text-agent">
                  <Wrench aria-hidden className="size-4" />
                </span>
                <span className="min-w-0 flex-1">
                  <span className="block truncate font-semibold">{repairTitle(repair)}</span>
                  <span className="block truncate text-sm text-muted">
                    {repair.stream} · <Time at={repair.created_at} />
                  </span>
                </span>
                <span className="data">{percent(repair.confidence)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Health({ query }: { query: UseQueryResult<Connection[]> }) {
  return (
    <Card aria-labelledby="health">
      <CardHead title="Connections" id="health">
        <More link={{ to: "/connections" }}>All</More>
      </CardHead>
      {query.isPending ? (
        <SkeletonRows rows={3} className="h-10" />
      ) : query.isError ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} />
      ) : (
        <ul className="p-2 md:px-4 md:pb-4">
          {[...query.data]
            .sort(
              (left, right) =>
                Number(right.status === "failing") - Number(left.status === "failing"),
            )
            .slice(0, 8)
            .map((connection) => (
              <li key={connection.id}>
                <Link
                  to="/connections/$connectionId"
                  params={{ connectionId: connection.id }}
                  className="flex min-h-11 items-center justify-between gap-3 rounded-xl px-2 hover:bg-hover"
                >
                  <span className="min-w-0 truncate font-semibold">{connection.name}</span>
                  <Status of={connection.status} />
                </Link>
              </li>
            ))}
        </ul>
      )}
    </Card>
  );
}

function Latest() {
  const { recent, state } = useLive();
  return (
    <Card aria-labelledby="latest">
      <CardHead title="Happening now" id="latest">
        <More link={{ to: "/flow" }}>Live flow</More>
      </CardHead>
      {recent.length === 0 ? (
        <p className="flex items-center gap-2 px-4 pt-2 pb-5 text-sm text-muted md:px-6">
          <RefreshCw aria-hidden className="size-4" />
          {state === "live"
            ? "Quiet since you opened this page."
            : "Connecting to the event stream…"}
        </p>
      ) : (
        <ul className="px-4 pt-2 pb-4 md:px-6">
          {recent.slice(0, 5).map((event) => (
            <li key={event.position}>
              <EventLine event={event} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
