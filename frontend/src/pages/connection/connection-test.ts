import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import type { TestResult } from "@/api/types";

/** Tests a connection; a refusal by the server is a failed test like any other. */
export async function connectionTest(id: string): Promise<TestResult> {
  try {
    return await calls.connections.test(id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return {
      ok: false,
      latency_ms: 0,
      message: `${error.detail ?? error.title}${error.code ? ` (${error.code})` : ""}`,
    };
  }
}
