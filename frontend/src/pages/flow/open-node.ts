import { useQuery } from "@tanstack/react-query";
import type { useNavigate } from "@tanstack/react-router";
import { q } from "@/api/queries";
import type { GraphNode } from "@/api/types";

/** Where a node leads: an entity to its view, a source or stream to its connection. */
export function useOpenNode() {
  const graph = useQuery(q.graph());
  const connections = useQuery(q.connections());
  return (node: GraphNode, navigate: ReturnType<typeof useNavigate>) => {
    if (node.kind === "entity") {
      const entity = node.id.replace(/^entity[:/]/, "");
      void navigate({ to: "/views/$entity", params: { entity } });
      return;
    }
    const source =
      node.kind === "source"
        ? node.id
        : (graph.data?.edges.find((edge) => edge.to === node.id)?.from ?? "");
    const label = graph.data?.nodes.find((one) => one.id === source)?.label;
    const connection = connections.data?.find(
      (one) => source.includes(one.id) || one.name === label,
    );
    if (connection) {
      void navigate({
        to: "/connections/$connectionId",
        params: { connectionId: connection.id },
        search: node.kind === "stream" ? { tab: "mappings" } : {},
      });
    }
  };
}
