import { Toaster } from "sonner";
import { useTheme } from "@/lib/theme";

export default function Toasts() {
  return (
    <Toaster
      theme={useTheme()}
      position="bottom-right"
      offset={{ bottom: "1.5rem", right: "1.5rem" }}
      mobileOffset={{ bottom: "5.5rem" }}
      toastOptions={{
        duration: 8000,
        classNames: {
          toast:
            "!rounded-2xl !border-line !bg-surface !text-ink !shadow-pop !font-sans !text-sm !gap-3",
          description: "!text-muted",
          actionButton: "!bg-accent !text-white !rounded-lg !h-9 !px-3 !font-bold",
        },
      }}
    />
  );
}
