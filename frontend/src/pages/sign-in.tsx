import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Eye, EyeOff } from "lucide-react";
import { useState, type FormEvent, type ReactNode } from "react";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { session } from "@/api/session";
import type { Tokens } from "@/api/types";
import { useTitle } from "@/lib/hooks";
import { insidePath } from "@/lib/inside-path";
import { Mark, Wordmark } from "@/shell/brand";
import { Button } from "@/ui/button";
import { errorText } from "@/ui/error";
import { Field, Input } from "@/ui/form";

export function SignIn() {
  useTitle("Sign in");
  return (
    <Frame title="Welcome back" intro="Sign in to your organisation.">
      <AuthForm mode="sign-in" />
    </Frame>
  );
}

export function SignUp() {
  useTitle("Create your organisation");
  return (
    <Frame
      title="Create your organisation"
      intro="One unified view of your business, from sources you already have."
    >
      <AuthForm mode="sign-up" />
    </Frame>
  );
}

function AuthForm({ mode }: { mode: "sign-in" | "sign-up" }) {
  const navigate = useNavigate();
  const { redirect } = useSearch({ strict: false });
  const [organization, setOrganization] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const registering = mode === "sign-up";
  const fieldError = (name: string) =>
    error instanceof ApiError ? error.field(`/${name}`) : undefined;
  const namesField = error instanceof ApiError && error.fields.length > 0;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const tokens: Tokens = registering
        ? await calls.auth.register({
            organization: organization.trim(),
            email: email.trim(),
            password,
          })
        : await calls.auth.login({ email: email.trim(), password });
      session.fromTokens(tokens);
      await navigate({ href: insidePath(redirect), replace: true });
    } catch (cause) {
      setError(cause);
      setBusy(false);
    }
  };

  return (
    <form onSubmit={submit} className="flex flex-col gap-5" noValidate={false}>
      {registering ? (
        <Field label="Organisation" error={fieldError("organization")}>
          {(control) => (
            <Input
              {...control}
              name="organization"
              autoComplete="organization"
              required
              maxLength={200}
              value={organization}
              onChange={(event) => setOrganization(event.target.value)}
            />
          )}
        </Field>
      ) : null}
      <Field label="E-mail" error={fieldError("email")}>
        {(control) => (
          <Input
            {...control}
            name="email"
            type="email"
            inputMode="email"
            autoComplete="username"
            required
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        )}
      </Field>
      <Field
        label="Password"
        error={fieldError("password")}
        hint={registering ? "At least 10 characters; a sentence you remember is best." : undefined}
      >
        {(control) => (
          <div className="relative">
            <Input
              {...control}
              name="password"
              type={shown ? "text" : "password"}
              autoComplete={registering ? "new-password" : "current-password"}
              required
              className="pr-12"
              value={password}
              onChange={(event) => setPassword(event.target.value)}
            />
            <button
              type="button"
              aria-label={shown ? "Hide the password" : "Show the password"}
              onClick={() => setShown(!shown)}
              className="absolute top-1/2 right-0 grid size-11 -translate-y-1/2 place-items-center rounded-xl text-muted hover:text-ink"
            >
              {shown ? (
                <EyeOff aria-hidden className="size-4" />
              ) : (
                <Eye aria-hidden className="size-4" />
              )}
            </button>
          </div>
        )}
      </Field>
      <div aria-live="assertive">
        {error && !namesField ? (
          <p className="rounded-xl bg-danger-soft px-4 py-3 text-sm font-semibold text-danger">
            {errorText(error)}
          </p>
        ) : null}
      </div>
      <Button type="submit" variant="primary" busy={busy} className="w-full">
        {registering ? "Create organisation" : "Sign in"}
      </Button>
      <p className="text-center text-sm text-muted">
        {registering ? "Already a member? " : "New here? "}
        <Link
          to={registering ? "/sign-in" : "/sign-up"}
          search={redirect ? { redirect } : {}}
          className="inline-flex min-h-11 items-center font-bold text-accent-strong underline underline-offset-4 md:pointer-fine:min-h-6"
        >
          {registering ? "Sign in" : "Create an organisation"}
        </Link>
      </p>
    </form>
  );
}

function Frame({ title, intro, children }: { title: string; intro: string; children: ReactNode }) {
  return (
    <div className="grid min-h-dvh lg:grid-cols-[minmax(0,1fr)_minmax(0,1.1fr)]">
      <main className="flex flex-col px-5 py-6 md:px-12">
        <div className="flex items-center gap-3">
          <Mark />
          <Wordmark />
        </div>
        <div className="mx-auto flex w-full max-w-sm flex-1 flex-col justify-center py-10">
          <h1 className="text-3xl font-bold tracking-tight">{title}</h1>
          <p className="mt-2 mb-8 text-muted">{intro}</p>
          {children}
        </div>
      </main>
      <Poster />
    </div>
  );
}

/** What the product does, in one picture: many sources become one record. */
function Poster() {
  const sources = ["CRM export", "Marketing list", "Billing file", "Support desk"];
  return (
    <aside
      aria-label="What AutonomOS does"
      className="relative hidden overflow-hidden bg-[#0c1630] text-white lg:flex lg:flex-col lg:justify-center"
    >
      <svg viewBox="0 0 640 420" aria-hidden className="w-full px-12">
        {sources.map((label, index) => {
          const y = 60 + index * 100;
          return (
            <g key={label}>
              <path
                d={`M190 ${y} C 300 ${y}, 320 210, 420 210`}
                fill="none"
                stroke={index === 1 ? "#c084fc" : "#4ade80"}
                strokeWidth="2"
                strokeDasharray={index === 1 ? "5 6" : undefined}
                opacity={index === 1 ? 0.95 : 0.5}
              />
              <rect
                x="20"
                y={y - 24}
                width="170"
                height="48"
                rx="14"
                fill="#132042"
                stroke="#26406f"
              />
              <circle cx="46" cy={y} r="6" fill="#4ade80" />
              <text x="64" y={y + 5} fill="#dbe7ff" fontSize="15" fontWeight="600">
                {label}
              </text>
            </g>
          );
        })}
        <g>
          <rect x="246" y="128" width="132" height="34" rx="17" fill="#2a1c4a" stroke="#c084fc" />
          <text x="312" y="150" fill="#e3ccff" fontSize="13" fontWeight="700" textAnchor="middle">
            drift repaired
          </text>
        </g>
        <rect x="420" y="120" width="200" height="180" rx="20" fill="#16284d" stroke="#60a5fa" />
        <text x="444" y="158" fill="#fff" fontSize="18" fontWeight="700">
          Account
        </text>
        {[0, 1, 2, 3].map((line) => (
          <g key={line}>
            <rect
              x="444"
              y={180 + line * 28}
              width={[70, 56, 76, 60][line]}
              height="8"
              rx="4"
              fill="#3d5f9e"
            />
            <rect
              x="534"
              y={180 + line * 28}
              width={[62, 48, 40, 56][line]}
              height="8"
              rx="4"
              fill="#8fb8ff"
            />
          </g>
        ))}
      </svg>
      <div className="px-16 pt-6">
        <p className="max-w-md text-2xl leading-snug font-bold">
          Many sources. One correct record.
        </p>
        <p className="mt-3 max-w-md text-[#b9c9ea]">
          When a source changes its shape, AutonomOS notices, repairs the mapping when it is sure,
          and asks you when it is not. Every value can be followed back to where it came from.
        </p>
      </div>
    </aside>
  );
}
