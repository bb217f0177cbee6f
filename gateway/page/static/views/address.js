// Which task's history is open stands in the address: `#task=…` can be linked to, and the back button closes it.

/** The task that the address names, or null. */
export function taskInAddress() {
  return new URLSearchParams(location.hash.slice(1)).get("task");
}

export function openTask(task) {
  location.hash = `task=${task}`;
}

/** Close the history without leaving a "#" behind. */
export function closeTask() {
  history.pushState(null, "", location.pathname + location.search);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
