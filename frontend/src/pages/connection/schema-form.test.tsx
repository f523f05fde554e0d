import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { useState } from "react";
import { afterEach, expect, test } from "vitest";
import type { JsonSchema } from "@/api/types";
import postgres from "../../../../schemas/connectors/postgres.json";
import salesforce from "../../../../schemas/connectors/salesforce.json";
import { SchemaForm, type Values } from "./schema-form";

afterEach(cleanup);

const schema: JsonSchema = {
  type: "object",
  required: ["host", "auth"],
  "x-order": ["host", "port"],
  properties: {
    port: { type: "integer", title: "Port" },
    host: { type: "string", title: "Host", description: "Its name" },
    tls: { type: "boolean", title: "Use TLS", default: true },
    nulls: { type: "array", items: { type: "string" }, title: "Nulls" },
    header: { type: "boolean", title: "Header" },
    auth: {
      type: "object",
      title: "Authentication",
      oneOf: [
        {
          title: "Key",
          properties: {
            kind: { const: "key" },
            key: { type: "string", title: "API key", writeOnly: true },
          },
        },
        {
          title: "Password",
          properties: { kind: { const: "password" }, user: { type: "string", title: "User" } },
        },
      ],
    },
  },
};

function Harness({ seen }: { seen: (value: Values) => void }) {
  const [value, setValue] = useState<Values>({});
  seen(value);
  return (
    <SchemaForm
      schema={schema}
      value={value}
      onChange={setValue}
      errorAt={(pointer) => (pointer === "/host" ? "cannot be found" : undefined)}
    />
  );
}

test("a connector's schema draws its form: kinds, order, ways to sign in, secrets, errors", () => {
  let value: Values = {};
  render(<Harness seen={(next) => (value = next)} />);
  const host = screen.getByLabelText("Host");
  expect(host.getAttribute("aria-invalid")).toBe("true");
  expect(screen.getByText("cannot be found")).toBeTruthy();
  fireEvent.change(host, { target: { value: "db.example" } });
  fireEvent.change(screen.getByLabelText(/Port/), { target: { value: "5432" } });
  expect(screen.getByLabelText(/API key/).getAttribute("type")).toBe("password");
  fireEvent.change(screen.getByLabelText("Authentication"), { target: { value: "1" } });
  fireEvent.change(screen.getByLabelText(/User/), { target: { value: "ada" } });
  fireEvent.change(screen.getByLabelText(/Nulls/), { target: { value: "NA, n/a" } });
  fireEvent.change(screen.getByLabelText(/Header/), { target: { value: "false" } });
  expect(value).toEqual({
    nulls: ["NA", "n/a"],
    header: false,
    host: "db.example",
    port: 5432,
    auth: { kind: "password", user: "ada" },
  });
  fireEvent.change(host, { target: { value: "" } });
  expect(value).not.toHaveProperty("host");
});

test("the form of Postgres hides the password and offers what has defaults among the options", () => {
  let value: Values = {};
  render(
    <SchemaForm
      schema={postgres as JsonSchema}
      value={value}
      onChange={(next) => (value = next)}
      errorAt={() => undefined}
    />,
  );
  for (const [name, property] of Object.entries(postgres.properties)) {
    expect(screen.getAllByLabelText(new RegExp(`^${property.title}`)).length, name).toBeGreaterThan(
      0,
    );
  }
  expect(screen.getByLabelText(/^Password/).getAttribute("type")).toBe("password");
  fireEvent.change(screen.getByLabelText(/^Encryption/), { target: { value: "verify-full" } });
  expect(value).toEqual({ ssl_mode: "verify-full" });
});

function Salesforce({ seen }: { seen: (value: Values) => void }) {
  const [value, setValue] = useState<Values>({});
  seen(value);
  return (
    <SchemaForm
      schema={salesforce as unknown as JsonSchema}
      value={value}
      onChange={setValue}
      errorAt={() => undefined}
    />
  );
}

test("the form of Salesforce has three ways to sign in, and takes along what they share alone", () => {
  let value: Values = {};
  render(<Salesforce seen={(next) => (value = next)} />);
  const way = screen.getByLabelText("Way to sign in");
  expect([...way.querySelectorAll("option")].map((option) => option.textContent)).toEqual([
    "Refresh token",
    "JWT bearer",
    "Client credentials",
  ]);
  // The first way is chosen by nobody, and said all the same.
  fireEvent.change(screen.getByLabelText(/^Consumer key/), { target: { value: "3MVG9" } });
  fireEvent.change(screen.getByLabelText(/^Refresh token/), { target: { value: "token" } });
  expect(screen.getByLabelText(/^Refresh token/).getAttribute("type")).toBe("password");
  expect(value).toEqual({
    auth: { kind: "refresh_token", client_id: "3MVG9", refresh_token: "token" },
  });
  fireEvent.change(way, { target: { value: "1" } });
  expect(value).toEqual({ auth: { kind: "jwt_bearer", client_id: "3MVG9" } });
  expect(screen.getByLabelText(/^Private key/).getAttribute("type")).toBe("password");
  fireEvent.change(screen.getByLabelText(/^User/), { target: { value: "ada" } });
  fireEvent.change(way, { target: { value: "2" } });
  expect(value).toEqual({ auth: { kind: "client_credentials", client_id: "3MVG9" } });
  expect(screen.queryByLabelText(/^Private key/)).toBeNull();
});
