// Where the nodes of the flow stand: sources, streams, entities and agents in columns, each sorted
// so that few lines cross.

import type { Graph, GraphEdge, GraphNode, LogEvent } from "@/api/types";

export const NODE = { width: 200, height: 44, gap: 14, column: 300, arc: 60 };
const COLUMNS: GraphNode["kind"][] = ["source", "stream", "entity", "agent"];

export interface Placed {
  node: GraphNode;
  x: number;
  y: number;
}
export interface Layout {
  placed: Map<string, Placed>;
  edges: GraphEdge[];
  width: number;
  height: number;
}

export const edgeId = (edge: GraphEdge) => `${edge.from} ${edge.to}`;

export function layoutOf(graph: Graph): Layout {
  const neighbours = new Map<string, string[]>();
  const known = new Set(graph.nodes.map((node) => node.id));
  const edges = graph.edges.filter((edge) => known.has(edge.from) && known.has(edge.to));
  for (const { from, to } of edges.filter((edge) => edge.kind !== "references")) {
    neighbours.set(from, [...(neighbours.get(from) ?? []), to]);
    neighbours.set(to, [...(neighbours.get(to) ?? []), from]);
  }
  const columns = COLUMNS.map((kind) =>
    graph.nodes
      .filter((node) => node.kind === kind)
      .sort((left, right) => left.label.localeCompare(right.label)),
  ).filter((column) => column.length > 0);
  // Each column in the order of the mean place of what it is tied to on its left.
  const rank = new Map<string, number>();
  for (const column of columns) {
    const mean = (node: GraphNode) => {
      const places = (neighbours.get(node.id) ?? []).flatMap((id) => rank.get(id) ?? []);
      return places.length
        ? places.reduce((sum, place) => sum + place, 0) / places.length
        : Infinity;
    };
    column.sort((left, right) => {
      const [one, other] = [mean(left), mean(right)];
      return one === other ? left.label.localeCompare(right.label) : one - other;
    });
    column.forEach((node, index) => rank.set(node.id, (index + 0.5) / column.length));
  }
  const step = NODE.height + NODE.gap;
  const height = Math.max(1, ...columns.map((column) => column.length)) * step - NODE.gap;
  const placed = new Map<string, Placed>();
  columns.forEach((column, columnIndex) => {
    const top = (height - (column.length * step - NODE.gap)) / 2;
    column.forEach((node, index) =>
      placed.set(node.id, { node, x: columnIndex * NODE.column, y: top + index * step }),
    );
  });
  const arcs = edges.some((edge) => edge.kind === "references") ? NODE.arc : 0;
  return { placed, edges, width: (columns.length - 1) * NODE.column + NODE.width + arcs, height };
}

const asText = (value: unknown) => (typeof value === "string" ? value : null);

/** The lines an event ran along: those of the source or stream it names, and on to its entity. */
export function edgesOfEvent(event: LogEvent, graph: Graph): string[] {
  const payload = event.payload ?? {};
  const state = (payload.state ?? {}) as Record<string, unknown>;
  const connection = asText(payload.connection_id) ?? asText(state.connection_id);
  const stream = asText(payload.stream) ?? asText(state.stream);
  const ids = [event.aggregate_id, connection].filter((id): id is string => id !== null);
  const touched = new Set(
    graph.nodes
      .filter(
        (node) =>
          ids.some((id) => node.id.includes(id)) ||
          (node.kind === "stream" && node.label === stream),
      )
      .map((node) => node.id),
  );
  if (touched.size === 0) return [];
  const streams = new Set(
    graph.nodes
      .filter((node) => node.kind === "stream" && touched.has(node.id))
      .map((node) => node.id),
  );
  return graph.edges
    .filter((edge) =>
      streams.size > 0
        ? streams.has(edge.from) || streams.has(edge.to)
        : touched.has(edge.from) || touched.has(edge.to),
    )
    .map(edgeId);
}

/** What a search leaves: the matching nodes and all they are tied to, step by step. */
export function searchGraph(graph: Graph, wanted: string): Graph {
  if (!wanted) return graph;
  const text = wanted.toLowerCase();
  const kept = new Set(
    graph.nodes.filter((node) => node.label.toLowerCase().includes(text)).map((node) => node.id),
  );
  const grow = (from: "from" | "to", to: "from" | "to") => {
    let frontier = new Set(kept);
    while (frontier.size > 0) {
      const next = new Set<string>();
      for (const edge of graph.edges) {
        if (frontier.has(edge[from]) && !kept.has(edge[to])) next.add(edge[to]);
      }
      for (const id of next) kept.add(id);
      frontier = next;
    }
  };
  const matched = new Set(kept);
  grow("from", "to");
  const forward = new Set(kept);
  kept.clear();
  for (const id of matched) kept.add(id);
  grow("to", "from");
  for (const id of forward) kept.add(id);
  return {
    nodes: graph.nodes.filter((node) => kept.has(node.id)),
    edges: graph.edges.filter((edge) => kept.has(edge.from) && kept.has(edge.to)),
  };
}
