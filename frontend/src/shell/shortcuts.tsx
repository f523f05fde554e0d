import { Dialog } from "@/ui/overlay";

const KEYS: [string[], string][] = [
  [["Ctrl", "K"], "Jump to a page, a connection or a view"],
  [["/"], "Search on this page"],
  [["j"], "Next entry of a list"],
  [["k"], "Previous entry of a list"],
  [["Enter"], "Open the entry"],
  [["Esc"], "Close, or clear the search"],
  [["?"], "Show these keys"],
];

export default function Shortcuts({ onClose }: { onClose: () => void }) {
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="Keyboard shortcuts">
      <dl className="grid grid-cols-[auto_1fr] items-center gap-x-6 gap-y-3">
        {KEYS.map(([keys, does]) => (
          <div key={does} className="contents">
            <dt className="flex gap-1">
              {keys.map((key) => (
                <kbd
                  key={key}
                  className="min-w-7 rounded-md border border-line bg-sunken px-2 py-0.5 text-center text-sm"
                >
                  {key}
                </kbd>
              ))}
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
