/** One entry of a problem's `errors`. */
export interface FieldProblem {
  pointer: string;
  message: string;
}

/** What went wrong with a call, with what a person needs to get on. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string | null;
  readonly title: string;
  readonly detail: string | null;
  readonly traceId: string | null;
  readonly fields: FieldProblem[];
  readonly tried: string;
  readonly at: Date;

  constructor(parts: {
    status: number;
    code?: string | null;
    title: string;
    detail?: string | null;
    traceId?: string | null;
    fields?: FieldProblem[];
    tried: string;
  }) {
    super(parts.detail ?? parts.title);
    this.name = "ApiError";
    this.status = parts.status;
    this.code = parts.code ?? null;
    this.title = parts.title;
    this.detail = parts.detail ?? null;
    this.traceId = parts.traceId ?? null;
    this.fields = parts.fields ?? [];
    this.tried = parts.tried;
    this.at = new Date();
  }

  /** The message for the field at a JSON pointer, if the problem names it. */
  field(pointer: string): string | undefined {
    return this.fields.find((field) => field.pointer === pointer)?.message;
  }

  /** What to do next, in one sentence. */
  get next(): string {
    if (this.status === 0) return "Check that the server is running and reachable, then try again.";
    if (this.status === 401) return "Sign in again.";
    if (this.status === 403) return "Ask an owner or admin of your organisation for this right.";
    if (this.status === 404)
      return "It may have been removed, or this installation does not offer it. Go back and choose another.";
    if (this.status === 409) return "Reload to see the present state, then decide again.";
    if (this.status === 413)
      return "Choose a smaller file, or ask the operator to raise the limit.";
    if (this.status === 422 || this.status === 400)
      return "Correct what is marked, then try again.";
    if (this.status === 429) return "Wait a moment, then try again.";
    if (this.status === 503) return "The server is catching up. Try again in a few seconds.";
    return "Try again; if it stays, give the trace id to your operator.";
  }
}

interface ProblemBody {
  title?: string;
  detail?: string;
  code?: string;
  trace_id?: string;
  errors?: { pointer?: string; message?: string; detail?: string }[];
}

export function problemError(status: number, text: string, headers: Headers, tried: string) {
  let body: ProblemBody = {};
  try {
    body = JSON.parse(text) as ProblemBody;
  } catch {
    // Not from our server: a proxy, or nothing at all.
  }
  return new ApiError({
    status,
    code: body.code,
    title: body.title ?? `The server answered ${status}`,
    detail: body.detail,
    traceId: body.trace_id ?? headers.get("x-trace-id") ?? headers.get("x-request-id"),
    fields: (body.errors ?? []).map((field) => ({
      pointer: field.pointer ?? "",
      message: field.message ?? field.detail ?? "is not valid",
    })),
    tried: `${tried} answered ${status}`,
  });
}

export function unreachable(tried: string, cause: unknown) {
  return new ApiError({
    status: 0,
    title: "The server cannot be reached",
    detail: cause instanceof Error ? cause.message : null,
    tried: `${tried} got no answer`,
  });
}
