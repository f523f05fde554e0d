import { http, HttpResponse } from "msw";
import { setupServer } from "msw/node";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { forgetWrites, request } from "./client";
import { ApiError } from "./error";
import { session } from "./session";

const server = setupServer();
beforeAll(() => server.listen({ onUnhandledRequest: "error" }));
afterEach(() => server.resetHandlers());
afterAll(() => server.close());

const url = (path: string) => `http://localhost${path}`;
const user = { id: "u", email: "a@b.c", role: "owner" as const };
const tenant = { id: "t", name: "T" };

beforeEach(() => {
  forgetWrites();
  session.set({ user, tenant, accessToken: "old", refreshToken: "r1" });
});

function protectedBy(valid: () => string, answer = { ok: true }) {
  return http.get(url("/api/v1/things"), ({ request: call }) =>
    call.headers.get("authorization") === `Bearer ${valid()}`
      ? HttpResponse.json(answer)
      : HttpResponse.json({ title: "no" }, { status: 401 }),
  );
}

test("many calls with a token that has run out share one refresh", async () => {
  let refreshes = 0;
  let valid = "none";
  server.use(
    protectedBy(() => valid),
    http.post(url("/api/v1/auth/refresh"), async ({ request: call }) => {
      refreshes += 1;
      expect(await call.json()).toEqual({ refresh_token: "r1" });
      valid = "new";
      return HttpResponse.json({
        user,
        tenant,
        access_token: "new",
        refresh_token: "r2",
        expires_in: 1,
      });
    }),
  );
  const answers = await Promise.all([1, 2, 3].map(() => request("GET", "/api/v1/things")));
  expect(answers).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
  expect(refreshes).toBe(1);
  expect(session.get()).toMatchObject({ accessToken: "new", refreshToken: "r2" });
});

test("a refused refresh ends the session", async () => {
  server.use(
    protectedBy(() => "other"),
    http.post(url("/api/v1/auth/refresh"), () => new HttpResponse(null, { status: 401 })),
  );
  await expect(request("GET", "/api/v1/things")).rejects.toMatchObject({ status: 401 });
  expect(session.get()).toBeNull();
});

test("a refresh that the server could not answer keeps the session", async () => {
  server.use(
    protectedBy(() => "other"),
    http.post(url("/api/v1/auth/refresh"), () => new HttpResponse(null, { status: 503 })),
  );
  await expect(request("GET", "/api/v1/things")).rejects.toMatchObject({ status: 401 });
  expect(session.get()?.refreshToken).toBe("r1");
});

test("a problem carries its code, trace id, field messages and what was tried", async () => {
  server.use(
    http.post(url("/api/v1/things"), () =>
      HttpResponse.json(
        {
          title: "Not valid",
          detail: "the path is outside",
          code: "AOS-0205",
          trace_id: "abc",
          errors: [{ pointer: "/config/path", message: "is outside the roots" }],
        },
        { status: 422 },
      ),
    ),
  );
  const error = await request("POST", "/api/v1/things", { body: {} }).catch(
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ApiError);
  const problem = error as ApiError;
  expect(problem).toMatchObject({
    status: 422,
    code: "AOS-0205",
    traceId: "abc",
    detail: "the path is outside",
  });
  expect(problem.field("/config/path")).toBe("is outside the roots");
  expect(problem.tried).toBe("POST /api/v1/things answered 422");
});

test("no answer at all is an error with a next step", async () => {
  server.use(http.get(url("/api/v1/things"), () => HttpResponse.error()));
  const problem = (await request("GET", "/api/v1/things").catch(
    (cause: unknown) => cause,
  )) as ApiError;
  expect(problem.status).toBe(0);
  expect(problem.next).toMatch(/server is running/);
});

test("reads after a write ask for its position, and take what there is when readers lag", async () => {
  const asked: (string | null)[] = [];
  server.use(
    http.post(url("/api/v1/things"), () =>
      HttpResponse.json({}, { headers: { "x-position": "p7" } }),
    ),
    http.get(url("/api/v1/things"), ({ request: call }) => {
      const wanted = new URL(call.url).searchParams.get("min_position");
      asked.push(wanted);
      return wanted
        ? HttpResponse.json({ title: "behind" }, { status: 503 })
        : HttpResponse.json({ stale: true });
    }),
  );
  await request("POST", "/api/v1/things", { body: {} });
  expect(await request("GET", "/api/v1/things")).toEqual({ stale: true });
  expect(asked).toEqual(["p7", null]);
});
