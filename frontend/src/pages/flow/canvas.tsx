import { useNavigate } from "@tanstack/react-router";
import type { Graph, GraphNode } from "@/api/types";
import { percent } from "@/lib/format";
import { cx } from "@/ui/cx";
import { edgeId, NODE, type Layout, type Placed } from "./layout";
import { useOpenNode } from "./open-node";

const FILL: Record<GraphNode["kind"], string> = {
  source: "fill-source-soft stroke-source",
  stream: "fill-surface stroke-source",
  entity: "fill-entity-soft stroke-entity",
  agent: "fill-agent-soft stroke-agent",
};
const INK: Record<GraphNode["kind"], string> = {
  source: "fill-source",
  stream: "fill-ink",
  entity: "fill-entity",
  agent: "fill-agent",
};

const clip = (label: string) => (label.length > 22 ? `${label.slice(0, 21)}…` : label);

/** From side to side between columns; bulging to the right within one. */
function lineOf(from: Placed, to: Placed): string {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const y2 = to.y + NODE.height / 2;
  if (from.x === to.x) {
    const bulge = x1 + NODE.arc;
    return `M${x1} ${y1}C${bulge} ${y1} ${bulge} ${y2} ${x1} ${y2}`;
  }
  const middle = (x1 + to.x) / 2;
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${to.x} ${y2}`;
}

/** The picture; the tree beside it says the same to those who cannot use a picture. */
export function FlowCanvas({ layout, active }: { layout: Layout; active: Map<string, number> }) {
  const navigate = useNavigate();
  const openNode = useOpenNode();
  const pad = 12;
  return (
    <div className="overflow-x-auto px-2 py-2" role="region" aria-label="Flow graph" tabIndex={0}>
      <svg
        viewBox={`${-pad} ${-pad} ${layout.width + pad * 2} ${layout.height + pad * 2}`}
        className="mx-auto block w-full"
        style={{ maxWidth: layout.width + pad * 2, minWidth: 560 }}
        role="img"
        aria-label={`${layout.placed.size} nodes and ${layout.edges.length} lines between sources, streams and entities; the tree view lists them.`}
      >
        {layout.edges.map((edge) => {
          const from = layout.placed.get(edge.from);
          const to = layout.placed.get(edge.to);
          if (!from || !to) return null;
          const line = lineOf(from, to);
          const pulse = active.get(edgeId(edge));
          return (
            <g key={edgeId(edge)}>
              <path
                d={line}
                fill="none"
                className="stroke-line"
                strokeWidth={2}
                strokeDasharray={edge.kind === "references" ? "3 5" : undefined}
              >
                <title>
                  {`${from.node.label} ${edge.kind ?? "to"} ${to.node.label}${edge.confidence ? `, ${percent(edge.confidence)}` : ""}`}
                </title>
              </path>
              {pulse ? (
                <path
                  key={pulse}
                  d={line}
                  fill="none"
                  pathLength={100}
                  strokeWidth={4}
                  strokeLinecap="round"
                  className={cx(
                    "flow-pulse",
                    to.node.kind === "entity"
                      ? "stroke-entity"
                      : to.node.kind === "agent"
                        ? "stroke-agent"
                        : "stroke-source",
                  )}
                />
              ) : null}
            </g>
          );
        })}
        {[...layout.placed.values()].map(({ node, x, y }) => (
          // The tree offers the same by keyboard; here a click is a short cut.
          <g
            key={node.id}
            transform={`translate(${x} ${y})`}
            className="cursor-pointer"
            onClick={() => openNode(node, navigate)}
          >
            <rect
              width={NODE.width}
              height={NODE.height}
              rx={13}
              strokeWidth={1.5}
              className={FILL[node.kind]}
            />
            <text
              x={16}
              y={NODE.height / 2 + 5}
              fontSize={14}
              fontWeight={650}
              className={INK[node.kind]}
            >
              {clip(node.label)}
            </text>
            <title>{node.label}</title>
          </g>
        ))}
      </svg>
    </div>
  );
}

/** The same graph as a list: source, its streams, their entities. */
export function FlowTree({ graph }: { graph: Graph }) {
  const navigate = useNavigate();
  const openNode = useOpenNode();
  const byId = new Map(graph.nodes.map((node) => [node.id, node]));
  const next = (id: string) =>
    graph.edges.flatMap((edge) =>
      edge.from === id && edge.kind !== "references" ? [{ edge, node: byId.get(edge.to) }] : [],
    );
  const hasParent = new Set(graph.edges.map((edge) => edge.to));
  const roots = graph.nodes.filter((node) => node.kind === "source" || !hasParent.has(node.id));
  const tone = {
    source: "text-source",
    stream: "text-ink",
    entity: "text-entity",
    agent: "text-agent",
  };
  const item = (
    node: GraphNode,
    depth: number,
    confidence?: number | null,
    seen: string[] = [],
  ): React.ReactNode => (
    <li key={`${seen.join("/")}/${node.id}`}>
      <button
        type="button"
        onClick={() => openNode(node, navigate)}
        className="flex min-h-11 w-full items-center gap-3 rounded-lg px-2 text-left text-sm hover:bg-hover"
      >
        <span className={cx("font-bold break-all", tone[node.kind])}>{node.label}</span>
        <span className="text-xs text-muted">{node.kind}</span>
        {confidence ? <span className="data ml-auto">{percent(confidence)}</span> : null}
      </button>
      {depth < 4 && !seen.includes(node.id) && next(node.id).length > 0 ? (
        <ul className="ml-3 border-l border-line pl-3">
          {next(node.id).map(({ edge, node: child }) =>
            child ? item(child, depth + 1, edge.confidence, [...seen, node.id]) : null,
          )}
        </ul>
      ) : null}
    </li>
  );
  return <ul className="p-3 md:p-4">{roots.map((node) => item(node, 0))}</ul>;
}
