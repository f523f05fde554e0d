import { getRouteApi } from "@tanstack/react-router";
import { useSession } from "@/api/session";
import { PageHead, TabLinks } from "@/ui/page";
import { ApiKeys } from "./settings/api-keys";
import { Appearance } from "./settings/appearance";
import { Autonomy } from "./settings/autonomy";
import { Members } from "./settings/members";
import { Models } from "./settings/models";

const route = getRouteApi("/app/settings");
const TABS = [
  { key: "members", label: "Members", part: Members },
  { key: "keys", label: "API keys", part: ApiKeys },
  { key: "autonomy", label: "Autonomy", part: Autonomy },
  { key: "models", label: "Language models", part: Models },
  { key: "appearance", label: "Appearance", part: Appearance },
] as const;

export function Settings() {
  const search = route.useSearch();
  const held = useSession();
  const current = TABS.find((tab) => tab.key === search.tab) ?? TABS[0];
  return (
    <>
      <PageHead title="Settings" intro={held ? `Of ${held.tenant.name}` : undefined} />
      <TabLinks
        label="Parts of the settings"
        tabs={TABS.map((tab) => ({
          key: tab.key,
          label: tab.label,
          active: tab === current,
          link: { to: "/settings", search: tab === TABS[0] ? {} : { tab: tab.key } },
        }))}
      />
      <current.part />
    </>
  );
}
