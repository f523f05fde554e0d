import { theme, useTheme } from "@/lib/theme";
import { Card, CardHead } from "@/ui/display";
import { Segments } from "@/ui/form";

export function Appearance() {
  const chosen = useTheme();
  return (
    <Card aria-labelledby="appearance" className="max-w-4xl">
      <CardHead title="Theme" id="appearance" hint="Kept on this device" />
      <div className="p-4 md:p-6">
        <Segments
          label="Theme"
          value={chosen}
          options={[
            { value: "system", label: "As the system" },
            { value: "light", label: "Light" },
            { value: "dark", label: "Dark" },
          ]}
          onChange={theme.choose}
        />
      </div>
    </Card>
  );
}
