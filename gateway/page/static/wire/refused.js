// What the gateway refused, and why, in its own words.

/** A request that the gateway refused. `code` is for programs, the message for people. */
export class Refused extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

/** Read why an answer is a refusal. */
export async function refusalOf(response) {
  try {
    const { message, code } = (await response.json()).error;
    return new Refused(message, code ?? "");
  } catch {
    return new Refused(`The gateway answered with status ${response.status}.`);
  }
}
