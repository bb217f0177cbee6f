// What lies beside the board stands in the address: a task's history as `#task=…`, the account's usage as `#usage`. Both
// can be linked to, and the back button closes them.

/** The task that the address names, or null. */
export function taskInAddress() {
  return new URLSearchParams(location.hash.slice(1)).get("task");
}

/** Whether the address names the account's usage. */
export function usageInAddress() {
  return new URLSearchParams(location.hash.slice(1)).has("usage");
}

export function openTask(task) {
  location.hash = `task=${task}`;
}

export function openUsage() {
  location.hash = "usage";
}

/** Close what lies beside the board without leaving a "#" behind. */
export function closeSide() {
  history.pushState(null, "", location.pathname + location.search);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
