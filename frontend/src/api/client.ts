// Calls to the server: sign-in on every call, one refresh for many callers, problems as errors,
// and reads that never show less than this tab has written.

import { newId } from "@/lib/id";
import { ApiError, problemError, unreachable } from "./error";
import { session } from "./session";
import type { Tokens } from "./types";

export type Query = Record<string, string | number | boolean | null | undefined>;

interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  /** Calls without a session (sign-in itself). */
  anonymous?: boolean;
}

/** A read asks for the position of the latest write for this long; by then every reader has it. */
const READ_OWN_WRITES_MS = 30_000;
let lastWrite: { position: string; at: number } | null = null;

let refreshing: Promise<boolean> | null = null;

/** A refresh token used twice counts as stolen, so two tabs must not use it at the same time. */
async function oneTabAtATime<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? await navigator.locks.request("aos.refresh", work) : await work();
}

/** Changes the refresh token for new tokens; many callers share one exchange. */
function refresh(stale: string): Promise<boolean> {
  refreshing ??= oneTabAtATime(async () => {
    const held = session.reload();
    if (!held) return false;
    if (held.accessToken !== stale) return true; // Another tab did it.
    try {
      const response = await fetch("/api/v1/auth/refresh", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ refresh_token: held.refreshToken }),
      });
      if (!response.ok) {
        if (response.status < 500 && response.status !== 429) session.set(null);
        return false;
      }
      session.fromTokens((await response.json()) as Tokens);
      return true;
    } catch {
      return false;
    }
  }).finally(() => {
    refreshing = null;
  });
  return refreshing;
}

function urlOf(path: string, query: Query | undefined) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Sends one call with the session's token, refreshing it once when it has run out. */
export async function send(
  method: string,
  path: string,
  init: { headers?: Record<string, string>; body?: BodyInit; signal?: AbortSignal },
  anonymous = false,
): Promise<Response> {
  const tried = `${method} ${path.split("?")[0]}`;
  const once = async () => {
    const headers: Record<string, string> = { ...init.headers };
    const token = session.get()?.accessToken;
    if (token && !anonymous) headers.authorization = `Bearer ${token}`;
    try {
      const response = await fetch(path, { ...init, method, headers });
      return { response, token };
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
      throw unreachable(tried, cause);
    }
  };
  let { response, token } = await once();
  if (response.status === 401 && token && !anonymous && (await refresh(token))) {
    ({ response, token } = await once());
    // Refused with a token as new as can be: the session is over, not the token.
    if (response.status === 401 && session.get()?.accessToken === token) session.set(null);
  }
  if (!response.ok)
    throw problemError(response.status, await response.text(), response.headers, tried);
  return response;
}

export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const write = method !== "GET";
  const query = { ...options.query };
  const waits =
    !write &&
    lastWrite !== null &&
    Date.now() - lastWrite.at < READ_OWN_WRITES_MS &&
    !options.anonymous;
  if (waits && lastWrite) query.min_position = lastWrite.position;

  const headers: Record<string, string> = { accept: "application/json" };
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (write && !path.startsWith("/api/v1/auth/")) headers["idempotency-key"] = newId();
  const init = {
    headers,
    body: options.body === undefined ? undefined : JSON.stringify(options.body),
    signal: options.signal,
  };

  let response: Response;
  try {
    response = await send(method, urlOf(path, query), init, options.anonymous);
  } catch (cause) {
    // Readers that lag behind our own write: what they have is better than nothing.
    if (!(waits && cause instanceof ApiError && cause.status === 503)) throw cause;
    response = await send(method, urlOf(path, options.query), init, options.anonymous);
  }
  if (write) rememberWrite(response);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

function rememberWrite(response: Response) {
  const position = response.headers.get("x-position");
  if (position) lastWrite = { position, at: Date.now() };
}

/** Forgets what this tab wrote: another tenant's log has other positions. */
export function forgetWrites() {
  lastWrite = null;
}

/** Sends a file as it is, with progress, which `fetch` cannot report. */
export async function upload<T>(
  path: string,
  file: File,
  onProgress: (sent: number, total: number) => void,
  signal?: AbortSignal,
): Promise<T> {
  // A token that has run out would cost the whole transfer: ask with a small call first.
  await send("GET", "/api/v1/auth/me", { signal });
  const tried = `POST ${path.split("?")[0]}`;
  return new Promise<T>((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", path);
    call.setRequestHeader("authorization", `Bearer ${session.get()?.accessToken ?? ""}`);
    call.setRequestHeader("content-type", "application/octet-stream");
    call.upload.onprogress = (event) => onProgress(event.loaded, event.total || file.size);
    call.onerror = () => reject(unreachable(tried, null));
    call.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    call.onload = () => {
      const headers = new Headers();
      for (const name of ["x-trace-id", "x-position"]) {
        const value = call.getResponseHeader(name);
        if (value) headers.set(name, value);
      }
      if (call.status >= 200 && call.status < 300) {
        const position = headers.get("x-position");
        if (position) lastWrite = { position, at: Date.now() };
        resolve(JSON.parse(call.responseText) as T);
      } else reject(problemError(call.status, call.responseText, headers, tried));
    };
    signal?.addEventListener("abort", () => call.abort());
    call.send(file);
  });
}
