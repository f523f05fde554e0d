import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight, Pencil, Split } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { q } from "@/api/queries";
import type { Mapping, MappingContent } from "@/api/types";
import { humanize } from "@/lib/format";
import { useDraft } from "@/lib/hooks";
import { Button } from "@/ui/button";
import { Badge, Card, CardHead, Empty, SkeletonRows } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { MappingEditor, MappingLines } from "../mapping-editor";

export default function Mappings({ connectionId }: { connectionId: string }) {
  const mappings = useQuery(q.mappings({ connection_id: connectionId }));
  if (mappings.isPending) {
    return (
      <Card>
        <SkeletonRows />
      </Card>
    );
  }
  if (mappings.isError)
    return <ErrorState error={mappings.error} retry={() => void mappings.refetch()} />;
  if (mappings.data.length === 0) {
    return (
      <Card>
        <Empty icon={Split} title="Nothing is mapped yet">
          The first sync matches each column to a field of an entity, with its confidence; here you
          can correct it.
        </Empty>
      </Card>
    );
  }
  return (
    <div className="flex flex-col gap-4 md:gap-6">
      {mappings.data.map((mapping) => (
        <MappingCard key={mapping.id} mapping={mapping} connectionId={connectionId} />
      ))}
    </div>
  );
}

function MappingCard({ mapping, connectionId }: { mapping: Mapping; connectionId: string }) {
  const client = useQueryClient();
  const ontology = useQuery(q.ontology());
  const schemas = useQuery(q.schemas(connectionId));
  const content: MappingContent = {
    entity: mapping.entity,
    key: mapping.key ?? [],
    fields: mapping.fields,
  };
  const [draft, setDraft, clearDraft] = useDraft<MappingContent | null>(
    `mapping.${mapping.id}`,
    null,
  );
  const [editing, setEditing] = useState(draft !== null);
  const latest = schemas.data
    ?.filter((schema) => schema.stream === mapping.stream)
    .sort((left, right) => right.version - left.version)[0];
  const stop = () => {
    clearDraft();
    setDraft(null);
    setEditing(false);
  };
  const save = useMutation({
    mutationFn: (next: MappingContent) =>
      calls.mappings.revise(mapping.id, { ...next, version: mapping.version }),
    onSuccess: () => {
      stop();
      void client.invalidateQueries({ queryKey: ["mappings"] });
      toast.success(`Mapping of ${mapping.stream} saved`, {
        description: "Its history is being projected again.",
      });
    },
  });
  return (
    <Card aria-label={`Mapping of ${mapping.stream}`}>
      <CardHead
        title={
          <span className="flex flex-wrap items-center gap-2">
            <span className="break-all text-source">{mapping.stream}</span>
            <ArrowRight aria-label="to" className="size-4 text-muted" />
            {mapping.entity ? (
              <Link
                to="/views/$entity"
                params={{ entity: mapping.entity }}
                className="text-entity underline-offset-4 hover:underline"
              >
                {humanize(mapping.entity)}
              </Link>
            ) : (
              "raw only"
            )}
            <Badge>version {mapping.version}</Badge>
          </span>
        }
        hint={
          mapping.key?.length
            ? `Key: ${mapping.key.join(", ")}`
            : "No key: the whole row tells records apart"
        }
      >
        {editing ? null : (
          <Button small onClick={() => setEditing(true)}>
            <Pencil aria-hidden className="size-3.5" /> Edit
          </Button>
        )}
      </CardHead>
      <InForce mapping={mapping} />
      {editing ? (
        <form
          className="p-4 md:p-6"
          onSubmit={(event) => {
            event.preventDefault();
            save.mutate(draft ?? content);
          }}
        >
          <MappingEditor
            value={draft ?? content}
            onChange={setDraft}
            entities={ontology.data?.entities ?? []}
            columns={latest?.fields.map((field) => field.name) ?? []}
          />
          {save.isError ? (
            <div className="-mx-4">
              <ErrorState
                error={save.error}
                title={
                  save.error instanceof ApiError
                    ? save.error.title
                    : "The mapping could not be saved"
                }
              />
            </div>
          ) : null}
          <div className="mt-5 flex flex-wrap justify-end gap-2">
            <Button onClick={stop}>Discard</Button>
            <Button type="submit" variant="primary" busy={save.isPending}>
              Save mapping
            </Button>
          </div>
        </form>
      ) : (
        <div className="mt-4 pb-2">
          <MappingLines mapping={content} />
        </div>
      )}
    </Card>
  );
}

/** What the newest data is read with, where that is not simply the mapping shown. */
function InForce({ mapping }: { mapping: Mapping }) {
  const newest = [...(mapping.bindings ?? [])].sort(
    (left, right) => right.schema_version - left.schema_version,
  )[0];
  if (!newest) return null;
  const said = [
    newest.hold_rows && "The key changed, so whole rows wait.",
    newest.held.length > 0 &&
      `Held at their last good values: ${newest.held.map((field) => humanize(field)).join(", ")}.`,
  ].filter(Boolean);
  return said.length > 0 ? (
    <p className="mx-4 mt-3 rounded-xl bg-warn-soft px-4 py-3 text-sm font-semibold text-warn md:mx-6">
      {said.join(" ")}
    </p>
  ) : null;
}
