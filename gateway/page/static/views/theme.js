// Light, dark, or as the system has it; remembered on this device.

const KEY = "ig3.theme";
const ORDER = ["auto", "light", "dark"];

export const NAMES = { auto: "As the system", light: "Light", dark: "Dark" };

export function theme() {
  const kept = localStorage.getItem(KEY);
  return ORDER.includes(kept) ? kept : "auto";
}

export function applyTheme(name = theme()) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

export function nextTheme() {
  const name = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length];
  localStorage.setItem(KEY, name);
  applyTheme(name);
  dispatchEvent(new Event("themechange"));
  return name;
}

/** Call back whenever colours change, by our own button or by the system. */
export function onThemeChange(callback) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", callback);
  addEventListener("themechange", callback);
  return () => {
    system.removeEventListener("change", callback);
    removeEventListener("themechange", callback);
  };
}

/** What a colour token is right now, for what is drawn on a canvas. */
export function colour(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
