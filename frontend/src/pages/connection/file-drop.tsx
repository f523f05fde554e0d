import { useQuery, useQueryClient } from "@tanstack/react-query";
import { CircleCheck, FileUp, X } from "lucide-react";
import { useRef, useState } from "react";
import * as calls from "@/api/calls";
import type { Upload } from "@/api/types";
import { bytes, duration } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Progress } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Field, Input, Select } from "@/ui/form";
import { Disclosure } from "@/ui/page";
import { sampleFile } from "./sample";

interface Sending {
  file: File;
  sent: number;
  began: number;
  abort: AbortController;
}

/** Takes a file from this device, an earlier upload, or a path on the server. */
export function FileDrop({
  value,
  onChange,
  onNamed,
  error,
  label,
  hint,
}: {
  value: string;
  onChange: (path: string) => void;
  /** The file's name, for a first guess at the connection's. */
  onNamed: (fileName: string) => void;
  error?: string;
  label: string;
  hint?: string;
}) {
  const client = useQueryClient();
  const picker = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [sending, setSending] = useState<Sending | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [byPath, setByPath] = useState(false);
  const earlier = useQuery({
    queryKey: ["uploads"],
    queryFn: async () => (await calls.uploads.list()).data,
  });
  const chosen = earlier.data?.find((upload) => upload.id === value);

  const send = async (file: File) => {
    const abort = new AbortController();
    setFailure(null);
    setSending({ file, sent: 0, began: performance.now(), abort });
    try {
      const upload = await calls.uploads.send(
        file,
        (sent) => setSending((before) => before && { ...before, sent }),
        abort.signal,
      );
      client.setQueryData<Upload[]>(["uploads"], (before) => [
        upload,
        ...(before ?? []).filter((other) => other.id !== upload.id),
      ]);
      onChange(upload.id);
      onNamed(upload.file_name);
    } catch (cause) {
      if (!(cause instanceof DOMException && cause.name === "AbortError")) setFailure(cause);
    } finally {
      setSending(null);
      if (picker.current) picker.current.value = "";
    }
  };

  const elapsed = sending ? performance.now() - sending.began : 0;
  const rate = sending && elapsed > 500 ? sending.sent / (elapsed / 1000) : 0;
  return (
    <div className="flex flex-col gap-3">
      <div
        role="group"
        aria-label={label}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          const file = event.dataTransfer.files[0];
          if (file) void send(file);
        }}
        className={cx(
          "flex flex-col items-center gap-3 rounded-2xl border-2 border-dashed px-4 py-8 text-center transition-colors",
          over ? "border-accent-strong bg-accent-soft" : "border-control bg-sunken",
        )}
      >
        {sending ? (
          <div className="flex w-full max-w-md flex-col gap-2" aria-live="polite">
            <p className="truncate font-bold">{sending.file.name}</p>
            <Progress
              value={sending.file.size ? sending.sent / sending.file.size : 1}
              label={`Uploading ${sending.file.name}`}
            />
            <p className="data flex flex-wrap justify-between gap-x-4 text-muted">
              <span>
                {bytes(sending.sent)} of {bytes(sending.file.size)}
              </span>
              {rate > 0 ? (
                <span>
                  {bytes(Math.round(rate))}/s ·{" "}
                  {duration(((sending.file.size - sending.sent) / rate) * 1000)} left
                </span>
              ) : null}
            </p>
            <Button small onClick={() => sending.abort.abort()} className="self-center">
              <X aria-hidden className="size-4" /> Cancel
            </Button>
          </div>
        ) : value && chosen ? (
          <>
            <CircleCheck aria-hidden className="size-8 text-source" />
            <p>
              <span className="font-bold break-all">{chosen.file_name}</span>{" "}
              <span className="data whitespace-nowrap text-muted">{bytes(chosen.bytes)}</span>
            </p>
            <Button small onClick={() => picker.current?.click()}>
              Choose another file
            </Button>
          </>
        ) : (
          <>
            <FileUp aria-hidden className="size-8 text-muted" strokeWidth={1.75} />
            <p className="text-sm text-muted">
              Drop a CSV, TSV, JSON, NDJSON, Parquet or Excel file here, plain or as gz or zst, or
            </p>
            <div className="flex flex-wrap justify-center gap-2">
              <Button onClick={() => picker.current?.click()}>Choose a file</Button>
              <Button variant="ghost" onClick={() => void send(sampleFile())}>
                Use sample data
              </Button>
            </div>
          </>
        )}
        <input
          ref={picker}
          type="file"
          tabIndex={-1}
          aria-label="File to upload"
          className="sr-only"
          accept=".csv,.tsv,.txt,.json,.ndjson,.jsonl,.parquet,.xlsx,.xls,.gz,.zst"
          onChange={(event) => {
            const file = event.target.files?.[0];
            if (file) void send(file);
          }}
        />
      </div>
      {error ? <p className="text-sm font-semibold text-danger">{error}</p> : null}
      {failure ? (
        <div className="-m-4">
          <ErrorState error={failure} title="The upload failed" />
        </div>
      ) : null}
      {earlier.data?.length && !sending ? (
        <Field label="Or an earlier upload" optional>
          {(control) => (
            <Select
              {...control}
              value={chosen ? value : ""}
              onChange={(event) => {
                onChange(event.target.value);
                const upload = earlier.data.find((other) => other.id === event.target.value);
                if (upload) onNamed(upload.file_name);
              }}
            >
              <option value="">Choose…</option>
              {earlier.data.map((upload) => (
                <option key={upload.id} value={upload.id}>
                  {upload.file_name} ({bytes(upload.bytes)})
                </option>
              ))}
            </Select>
          )}
        </Field>
      ) : null}
      <Disclosure
        summary="Or a path on the server"
        open={byPath || (Boolean(value) && !chosen && !earlier.isPending)}
        onToggle={setByPath}
      >
        <Field label="Path" hint={hint} optional>
          {(control) => (
            <Input
              {...control}
              value={chosen ? "" : value}
              placeholder="/data/exports/*.csv"
              onChange={(event) => onChange(event.target.value)}
            />
          )}
        </Field>
      </Disclosure>
    </div>
  );
}
