import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Activity, Pause, Play } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import * as calls from "@/api/calls";
import { live, useLive } from "@/api/events";
import { q } from "@/api/queries";
import type { Connection, Graph, LogEvent } from "@/api/types";
import { count } from "@/lib/format";
import { useMedia } from "@/lib/hooks";
import { Button, buttonClass } from "@/ui/button";
import { Card, CardHead, Empty, SkeletonRows } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { SearchBox, Segments } from "@/ui/form";
import { Freshness, NewItems, PageHead } from "@/ui/page";
import { EventLine } from "./event-row";
import { FlowCanvas, FlowTree } from "./flow/canvas";
import { edgesOfEvent, layoutOf, searchGraph } from "./flow/layout";

const route = getRouteApi("/app/flow");
/** How long a line shows that something went along it. */
const PULSE_MS = 1600;
const LISTED = 60;
/** More than this many nodes are drawn only when asked for. */
const DRAWN = 150;

export function Flow() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const wide = useMedia("(min-width: 64rem)");
  const graph = useQuery(q.graph());
  const connections = useQuery(q.connections());
  const named = useMemo(
    () => graph.data && withNames(graph.data, connections.data ?? []),
    [graph.data, connections.data],
  );
  const [paused, setPaused] = useState(false);
  const [shape, setShape] = useState<"graph" | "tree" | null>(null);
  const [all, setAll] = useState(false);
  const found = useMemo(
    () => (named ? searchGraph(named, search.q ?? "") : null),
    [named, search.q],
  );
  const shown = useMemo(() => (found && !all ? firstNodes(found) : found), [found, all]);
  const layout = useMemo(() => (shown ? layoutOf(shown) : null), [shown]);
  const active = usePulses(graph.data, paused);
  const hidden = (graph.data?.nodes.length ?? 0) - (shown?.nodes.length ?? 0);
  const view = shape ?? (wide ? "graph" : "tree");

  return (
    <>
      <PageHead
        title="Live flow"
        intro="From the sources to the unified entities. A line lights up when an event ran along it, and only then."
        actions={
          <>
            <Freshness updatedAt={graph.dataUpdatedAt} fetching={graph.isFetching} />
            <Button aria-pressed={paused} onClick={() => setPaused(!paused)}>
              {paused ? (
                <Play aria-hidden className="size-4" />
              ) : (
                <Pause aria-hidden className="size-4" />
              )}
              {paused ? "Go on" : "Pause"}
            </Button>
          </>
        }
      />
      <div className="grid items-start gap-4 md:gap-6 xl:grid-cols-[minmax(0,1fr)_24rem]">
        <Card aria-labelledby="graph">
          <CardHead title="Sources, streams, entities" id="graph">
            <Segments
              label="Shape"
              value={view}
              options={[
                { value: "graph", label: "Graph" },
                { value: "tree", label: "Tree" },
              ]}
              onChange={setShape}
            />
          </CardHead>
          <div className="flex flex-wrap items-center gap-3 px-4 py-3 md:px-6">
            <SearchBox
              label="Search the graph"
              value={search.q ?? ""}
              onChange={(text) =>
                void navigate({ search: { ...search, q: text || undefined }, replace: true })
              }
              className="w-full sm:w-64"
            />
            {hidden > 0 ? (
              <p className="text-sm font-semibold" role="status">
                {count(hidden)} hidden{" "}
                <Button
                  small
                  onClick={() => {
                    setAll(true);
                    void navigate({ search: {}, replace: true });
                  }}
                >
                  Show all
                </Button>
              </p>
            ) : null}
          </div>
          {graph.isPending ? (
            <SkeletonRows rows={6} className="h-12" />
          ) : graph.isError ? (
            <ErrorState error={graph.error} retry={() => void graph.refetch()} />
          ) : !layout || !shown || graph.data.nodes.length === 0 ? (
            <Empty
              icon={Activity}
              title="Nothing flows yet"
              action={
                <Link to="/connections/new" className={buttonClass("primary")}>
                  Add a connection
                </Link>
              }
            >
              Connect and sync a source; its streams and the entities they feed appear here.
            </Empty>
          ) : view === "graph" ? (
            <FlowCanvas layout={layout} active={active} />
          ) : (
            <FlowTree graph={shown} />
          )}
        </Card>
        <EventFeed paused={paused} />
      </div>
    </>
  );
}

/** The views know a source by its id alone; its name is the connection's. */
function withNames(graph: Graph, connections: Connection[]): Graph {
  const names = new Map(
    connections.map((connection) => [`source:${connection.id}`, connection.name]),
  );
  return {
    ...graph,
    nodes: graph.nodes.map((node) => ({ ...node, label: names.get(node.id) ?? node.label })),
  };
}

/** Entities and sources first; streams fill the rest. */
function firstNodes(graph: Graph): Graph {
  if (graph.nodes.length <= DRAWN) return graph;
  const order = { entity: 0, source: 1, agent: 2, stream: 3 };
  const nodes = [...graph.nodes]
    .sort((left, right) => order[left.kind] - order[right.kind])
    .slice(0, DRAWN);
  const kept = new Set(nodes.map((node) => node.id));
  return { nodes, edges: graph.edges.filter((edge) => kept.has(edge.from) && kept.has(edge.to)) };
}

/** The lines along which events ran in the last moment, each with a number that restarts its light. */
function usePulses(graph: Graph | undefined, paused: boolean): Map<string, number> {
  const [active, setActive] = useState<Map<string, number>>(new Map());
  const counter = useRef(0);
  useEffect(() => {
    if (!graph || paused) return;
    const timers = new Set<ReturnType<typeof setTimeout>>();
    const stop = live.onEvent((event) => {
      const edges = edgesOfEvent(event, graph);
      if (edges.length === 0) return;
      const mark = ++counter.current;
      // A line that is lit stays lit: hundreds of events a second are one light, not a storm.
      setActive((before) => {
        const next = new Map(before);
        for (const edge of edges) if (!next.has(edge)) next.set(edge, mark);
        return next;
      });
      const timer = setTimeout(() => {
        timers.delete(timer);
        setActive((before) => new Map([...before].filter(([, lit]) => lit !== mark)));
      }, PULSE_MS);
      timers.add(timer);
    });
    return () => {
      stop();
      for (const timer of timers) clearTimeout(timer);
      setActive(new Map());
    };
  }, [graph, paused]);
  return active;
}

/** The events as they come. While the pointer or the focus is on the list, new ones gather. */
function EventFeed({ paused }: { paused: boolean }) {
  const { recent, state } = useLive();
  const [touched, setTouched] = useState(false);
  const [frozen, setFrozen] = useState<LogEvent[] | null>(null);
  const hold = paused || touched;
  useEffect(() => {
    setFrozen(hold ? live.get().recent : null);
  }, [hold]);
  const earlier = useQuery({
    queryKey: ["history", "latest"],
    queryFn: async () => (await calls.history.list({ limit: LISTED })).data,
  });
  // What came before this page was opened stands below what comes.
  const heard = new Set((frozen ?? recent).map((event) => event.position));
  const list = [
    ...(frozen ?? recent),
    ...(earlier.data ?? []).filter((event) => !heard.has(event.position)),
  ].slice(0, LISTED);
  const newest = frozen?.[0]?.position;
  const at = frozen ? recent.findIndex((event) => event.position === newest) : 0;
  const gathered = frozen ? (at < 0 ? recent.length : at) : 0;
  return (
    <Card aria-labelledby="feed" className="xl:sticky xl:top-6">
      <CardHead title="Events" id="feed">
        <NewItems count={gathered} onShow={() => setFrozen(live.get().recent)} />
      </CardHead>
      {/* Hovering only holds the list still; nothing here is operated by it. */}
      <div
        role="region"
        aria-label="Latest events"
        tabIndex={0}
        className="max-h-[65vh] overflow-y-auto px-4 pt-2 pb-4 md:px-6"
        onPointerEnter={(event) => event.pointerType === "mouse" && setTouched(true)}
        onPointerLeave={() => setTouched(false)}
        onFocus={() => setTouched(true)}
        onBlur={() => setTouched(false)}
      >
        {list.length === 0 ? (
          <p className="py-6 text-center text-sm text-muted">
            {state === "live" ? "Nothing has happened yet." : "Connecting to the event stream…"}
          </p>
        ) : (
          <ul className="divide-y divide-line">
            {list.map((event) => (
              <li key={event.position}>
                <Link
                  to="/history"
                  search={{ aggregate_id: event.aggregate_id }}
                  className="block rounded-lg hover:bg-hover"
                >
                  <EventLine event={event} />
                </Link>
              </li>
            ))}
          </ul>
        )}
      </div>
    </Card>
  );
}
