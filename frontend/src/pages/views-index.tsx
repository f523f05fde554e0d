import { useQuery } from "@tanstack/react-query";
import { Link, Navigate } from "@tanstack/react-router";
import { Table2 } from "lucide-react";
import { q } from "@/api/queries";
import { RoutePending } from "@/shell/route-states";
import { buttonClass } from "@/ui/button";
import { Card, Empty } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { PageHead } from "@/ui/page";

/** Opens the fullest view, or says how to get one. */
export function ViewsIndex() {
  const views = useQuery(q.views());
  if (views.isPending) return <RoutePending />;
  const fullest = [...(views.data ?? [])].sort((left, right) => right.rows - left.rows)[0];
  if (fullest && fullest.rows > 0)
    return <Navigate to="/views/$entity" params={{ entity: fullest.entity }} replace />;
  return (
    <>
      <PageHead
        title="Views"
        intro="One row for each account, contact or opportunity, put together from all sources."
      />
      {views.isError ? (
        <ErrorState error={views.error} retry={() => void views.refetch()} />
      ) : (
        <Card>
          <Empty
            icon={Table2}
            title="No unified rows yet"
            action={
              <Link to="/connections/new" className={buttonClass("primary")}>
                Add a connection
              </Link>
            }
          >
            Connect a source and sync it; its rows appear here, matched across sources.
          </Empty>
        </Card>
      )}
    </>
  );
}
